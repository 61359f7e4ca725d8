"""Damaged and hostile files of every kind: a command says what is wrong with one, or takes it, and never fails."""

import json
import os
import select
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lj_vae_hpc.config.load import load
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.stages.export import export
from lj_vae_hpc.stages.score import score
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import metadata_checksum
from tests.conftest import ROOT, sampled_run
from tests.files import repacked, write_gsd, write_text
from tests.fuzz.hostile import HOSTILE, chunks_of_themselves, goes_on_in_itself, meets_itself, virtual

SECONDS = 20  # that a command may take
FEW = settings(max_examples=60, derandomize=True, deadline=None, database=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large])  # fmt: skip
KINDS = ("npy", "npz", "xyz", "gsd", "txt", "old.h5", "new.h5")
TEMPTING = (0, 1, 2, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


class Commands:
    """A process that runs commands; one that has died or hangs is replaced, and told of."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.scored: Counter[str] = Counter()

    def __call__(self, *arguments: object) -> tuple[int, str]:
        """Status and message of a command; negative for a signal, 124 where it took too long."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                cwd=ROOT,
            )  # fmt: skip
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(list(map(os.fspath, arguments))) + "\n")
        process.stdin.flush()
        ready = select.select([process.stdout], [], [], SECONDS)[0]
        line = process.stdout.readline() if ready else ""
        if line:
            status, message = json.loads(line)
            return status, message
        self.close()
        return (process.returncode, "") if ready else (124, "")

    def close(self) -> None:
        """Ends the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None


@pytest.fixture(scope="module")
def command() -> Iterator[Commands]:
    """Runs commands in another process."""
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny trained run that has scored once."""
    folder = sampled_run(tmp_path_factory.mktemp("fuzz") / "run", "sampling.configurations=40")
    config = load(folder / "config.yaml")
    train(World(), RunDir(folder), config)
    score(World(), RunDir(folder), config, (folder / "data/dataset.h5",))
    return folder


@pytest.fixture(scope="module")
def good(run: Path) -> dict[str, bytes]:
    """A small good file of each kind."""
    with Dataset(run / "data/dataset.h5") as data:
        positions = data.read(range(3))["positions"]
    folder = run.parent
    np.save(folder / "a.npy", positions)
    np.savez(folder / "a.npz", positions=positions, gamma=np.full(3, 0.1), box_side=5.0)
    write_text(folder / "a.txt", positions)
    export(World(), run / "data/dataset.h5", folder / "all.xyz")
    (folder / "a.xyz").write_text("".join((folder / "all.xyz").read_text().splitlines(keepends=True)[:30]))
    write_gsd(folder / "a.gsd", positions, 5.0)
    for name, libver in (("a.old.h5", "earliest"), ("a.new.h5", "latest")):
        with h5py.File(folder / name, "w", libver=libver) as file:
            for k, name in enumerate(("gamma", "positions", "spare")):
                values = positions if k else np.full(3, 0.1)
                file.create_dataset(name, data=values, chunks=(2, *values.shape[1:]), compression="gzip", shuffle=k > 0)
    found = {kind: (folder / f"a.{kind}").read_bytes() for kind in KINDS}
    packed = repacked(run / "data/dataset.h5", folder / "packed.h5")
    return found | {"h5": (run / "data/dataset.h5").read_bytes(), "packed": packed.read_bytes()}


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Changes of a file: flipped bits, numbers that tempt, parts cut out, repeated, or cut off."""
    edits = draw(st.lists(
        st.tuples(st.sampled_from(["flip", "number", "cut", "repeat", "end"]), st.integers(0, 9999),
                  st.integers(0, 7), st.sampled_from(TEMPTING), st.integers(1, 64)), min_size=1, max_size=4,
    ))  # fmt: skip

    def change(data: bytes) -> bytes:
        new = bytearray(data)
        for kind, place, bit, number, size in edits:
            at = place * len(new) // 10_000
            if kind == "flip" and new:
                new[at] ^= 1 << bit
            elif kind == "number":
                width = (1, 2, 4, 8)[bit % 4]
                at -= at % width
                new[at : at + width] = struct.pack("<Q", number)[:width]
            elif kind == "cut":
                del new[at : at + size]
            elif kind == "repeat":
                new[at:at] = new[at : at + size]
            elif kind == "end" and bit == 0:
                del new[at:]
        return bytes(new)

    return change


def refused_or_done(outcome: tuple[int, str], path: Path) -> bool:
    """Whether a command was done; it must else have said in one line which file it does not take, and why."""
    status, message = outcome
    assert status in (0, 2), (outcome, path)
    assert status == 0 or ("\n" not in message.strip() and path.name in message and "delete" not in message), message
    return status == 0


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(change=damage())
def test_damaged_files(
    command: Commands, run: Path, good: dict[str, bytes], kind: str, change: Callable[[bytes], bytes]
) -> None:
    path = run.parent / f"damaged.{kind}"
    path.write_bytes(change(good[kind]))
    if refused_or_done(command("read", path, run), path) and command.scored[kind] < 3:
        command.scored[kind] += 1  # no more of them, since each takes most of a second
        assert refused_or_done(command("score", path, "-o", run), path)


@pytest.mark.parametrize("kind", ["h5", "packed"])
@settings(FEW, max_examples=150)
@given(change=damage())
def test_damaged_data_sets(
    command: Commands, run: Path, good: dict[str, bytes], kind: str, change: Callable[[bytes], bytes]
) -> None:
    """What verify lets pass holds the same as before, bit for bit."""
    path = run.parent / "damaged.h5"
    path.write_bytes(change(good[kind]))
    inspected = refused_or_done(command("inspect", path), path)
    if refused_or_done(command("verify", path), path):
        assert inspected
        with PlainFile(path) as found, PlainFile(run / "data/dataset.h5") as wanted:
            assert found.arrays.keys() == wanted.arrays.keys()
            assert all(found.read(name).tobytes() == wanted.read(name).tobytes() for name in wanted.arrays)
            assert found.attributes == wanted.attributes


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_data_sets(command: Commands, run: Path, good: dict[str, bytes], tmp_path: Path, how: str) -> None:
    """Each is refused by every command that opens files, although the checksum of its attributes is right."""
    path = tmp_path / "hostile.h5"
    path.write_bytes(good["h5"])
    with h5py.File(path, "r+") as file:
        stored: dict[str, np.ndarray] = {}
        file["ensembles"].visititems(
            lambda name, item: stored.update({name: item[()]} if isinstance(item, h5py.Dataset) else {})
        )
        HOSTILE[how](file)
        file.attrs["metadata_checksum"] = metadata_checksum(dict(file.attrs), stored)
    for arguments in (
        ("inspect", path),
        ("verify", path),
        ("score", path, "-o", run),
        ("export", path, "--to", tmp_path / "a.npz"),
        ("import", path, "-c", run / "config.yaml", "-o", tmp_path / "new"),
    ):
        assert not refused_or_done(command(*arguments), path), arguments
    assert not (tmp_path / "a.npz").exists() and not (tmp_path / "new").exists()


def test_what_is_not_read_of_newer_layouts(command: Commands, tmp_path: Path, run: Path) -> None:
    """More attributes, or more members, than stand in a header; the message says what to do."""
    path = tmp_path / "latest.h5"
    with h5py.File(run / "data/dataset.h5") as old, h5py.File(path, "w", libver="latest") as new:
        new.attrs.update(old.attrs)
        for name in old:
            old.copy(name, new)
    assert not refused_or_done(command("inspect", path), path)
    with h5py.File(path, "w", libver="latest") as new:
        for k in range(9):
            new[f"positions{k or ''}"] = np.zeros((3, 8, 2))
    outcome = command("score", path, "-o", run)
    assert not refused_or_done(outcome, path) and "copy it with h5py" in outcome[1]


@pytest.mark.parametrize("write", [goes_on_in_itself, meets_itself, chunks_of_themselves])
def test_structures_without_end(command: Commands, run: Path, tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "endless.h5")
    outcome = command("score", tmp_path / "endless.h5", "-o", run)
    assert not refused_or_done(outcome, tmp_path / "endless.h5") and "twice" in outcome[1], outcome


def test_archives_that_declare_what_they_do_not_hold(
    command: Commands, run: Path, good: dict[str, bytes], tmp_path: Path
) -> None:
    for k, shape in enumerate([(10**12, 8, 2), (3, 10**9, 2), (-1, 8, 2), (3, 8), (), (0, 8, 2)]):
        head = np.lib.format.magic(1, 0)
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        array = head + struct.pack("<H", len(text)) + text.encode() + bytes(192)
        path = tmp_path / f"{k}.npy"
        path.write_bytes(array)
        assert not refused_or_done(command("score", path, "-o", run), path)
        with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
            archive.writestr("positions.npy", array)
        assert not refused_or_done(command("score", path.with_suffix(".npz"), "-o", run), path.with_suffix(".npz"))


def test_a_hostile_file_as_a_user_meets_it(
    run: Path, good: dict[str, bytes], tmp_path: Path, lj_vae: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    path = tmp_path / "circle.h5"
    path.write_bytes(good["h5"])
    with h5py.File(path, "r+") as file:
        virtual(file, ".")
    done = lj_vae("inspect", path, timeout=SECONDS)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("name", ["/etc/passwd", "/dev/zero", "/dev/null", "/proc/self/environ", "/proc/self/mem"])
def test_files_that_are_not_data(command: Commands, run: Path, name: str) -> None:
    for arguments in (("inspect", name), ("verify", name), ("score", name, "-o", run)):
        assert not refused_or_done(command(*arguments), Path(name)), arguments
