"""One campaign that is killed again and again, each time at another place, and stopped once: nothing finished is lost
or made twice.
"""

import random
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import KILLS, PATIENCE, ROOT, kill

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SEGMENTS, ROWS = 90, 40
SETTINGS = (
    "system.n_particles=8", "system.box_side=5", "sampling.protocol=reference", "sampling.gammas=[0.1]",
    "sampling.sweeps=400", f"sampling.configurations={SEGMENTS * ROWS}", f"sampling.segment_rows={ROWS}",
)  # fmt: skip
ARGUMENTS = [word for setting in SETTINGS for word in ("-s", setting)]
PLACES, RANKS = ("writing", "sampling", "starting"), (2, 1, 3, 7, 1, 2, 1)


def finished(run: Path) -> dict[str, tuple[int, int]]:
    """The finished segments; a file that was written again has another identity."""
    files = run.glob("data/ensembles/*/*-*.h5")
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def start(run: Path, ranks: int) -> "subprocess.Popen[bytes]":
    with (run.parent / "log").open("wb") as log:
        command = ["mpirun", "--oversubscribe", *PATIENCE, "-n", str(ranks), ROOT / "bin/lj-vae", "generate", "-o", run]
        return subprocess.Popen([*command, *ARGUMENTS], stdout=log, stderr=log)


def wait_for(place: str, chance: random.Random, run: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the ranks are somewhere at random in their start, in sampling a segment, or in writing one."""
    before, started = len(finished(run)), time.monotonic()
    wanted, share, times = chance.randint(2, 4), chance.random(), [started]
    while process.poll() is None:
        names = [path.name for path in run.glob("data/ensembles/*/*-*")]
        new = sum(name.endswith(".h5") for name in names) - before
        times += [time.monotonic()] * (new + 1 - len(times))
        if place == "starting" and (new or time.monotonic() - started > 2.5 * share):
            break
        if place == "sampling" and new >= wanted:
            time.sleep(share * (times[-1] - times[-2]))
            break
        if place == "writing" and new >= wanted and any(name.endswith(".partial") for name in names):
            time.sleep(0.01 * share)
            break
        time.sleep(0.001)


def take_semaphores(run: Path) -> list[Path]:
    """Leaves what Open MPI leaves of a process killed while it opens a file: a semaphore that nobody frees."""
    taken = [Path("/dev/shm") / f"sem.OMPIO_{path.name}" for path in run.glob("data/ensembles/*/*.partial")]
    for semaphore in taken:
        semaphore.write_bytes(struct.pack("<4I16x", 0, 0, 128, 0))
    return taken


def check(run: Path, kept: dict[str, tuple[int, int]]) -> None:
    """What must hold after every kill."""
    assert kept.items() <= finished(run).items(), "a finished segment is gone or was made again"
    assert len(list(run.glob("data/**/*.partial"))) <= 1
    assert not (run / "data/dataset.h5").exists()
    for name in finished(run):
        with h5py.File(next(run.glob(f"data/ensembles/*/{name}"))) as file:
            assert {len(values) for values in file.values()} == {ROWS}
            assert (file["gamma"][:] == 0.1).all() and np.isfinite(file["energy"][:]).all()


@pytest.mark.timeout(300)
def test_a_campaign_killed_again_and_again(lj_vae: Run, tmp_path: Path) -> None:
    chance, run, kept, taken = random.Random(1), tmp_path / "run", finished(tmp_path), list[Path]()
    assert lj_vae("generate", "-o", tmp_path / "whole", *ARGUMENTS).returncode == 0
    for number in range(2 * KILLS):
        process, place = start(run, RANKS[number % len(RANKS)]), PLACES[number % len(PLACES)]
        wait_for(place, chance, run, process)
        said = (tmp_path / "log").read_text()
        assert process.poll() is None, f"ended before it was killed (a longer campaign?): {said}"
        if kept and place != "starting":
            assert f"{ROWS * len(kept)} of {ROWS * SEGMENTS} configurations are kept" in said
        kill(chance, process)
        taken += take_semaphores(run)
        check(run, kept)
        kept = finished(run)
        if number in (6, 18) and kept:
            segment = next(run.glob("data/ensembles/*/*-*.h5"))
            assert "checksums and energies agree" in lj_vae("verify", segment).stdout
    process = start(run, 2)
    wait_for("sampling", chance, run, process)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 75
    said = (tmp_path / "log").read_text()
    assert said.count("stopped:") == said.count("to continue") == 1
    check(run, kept)
    kept = finished(run)
    assert len(kept) < SEGMENTS, "nothing was left to stop (a longer campaign?)"
    process = start(run, 3)
    process.wait()
    assert kept.items() <= finished(run).items()
    kept = finished(run)
    assert process.returncode == 0 and len(kept) == SEGMENTS
    for file in (tmp_path / "whole/data").rglob("*"):
        assert file.is_dir() or (run / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes(), file
    assert len(list((run / "data").rglob("*"))) == len(list((tmp_path / "whole/data").rglob("*")))
    assert taken, "never killed while a segment was written"
    for semaphore in taken:
        semaphore.unlink(missing_ok=True)
