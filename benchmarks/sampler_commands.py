"""The part of sampler.py that measures whole commands: more ranks, the published size, growth."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import ROOT, lj_vae

FIRST_MOVES = """
import os, sys, time

from lj_vae_hpc.__main__ import main
from lj_vae_hpc.sampling.chains import Chains

run = Chains.run

def timed(*arguments):
    run(*arguments)
    print(time.time() - float(started), flush=True)
    os._exit(0)

started, *sys.argv = sys.argv[1:]
Chains.run = timed
main()
"""  # a command until its first trial moves


def ranks() -> None:
    """Two ranks against one, with pinned data: `reference`, so that there is as much to do for both."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(3):
            found = []
            for n in (1, 2):
                output, _, _ = lj_vae(
                    n, "generate", "-o", f"{folder}/{k}-{n}", "-s sampling.protocol=reference",
                    "-s sampling.gammas=[1.0]",
                    f"-s sampling.sweeps={6000 * n}", "-s sampling.configurations=8192",
                )  # fmt: skip
                number, unit = re.findall(r"sampling: 100 %, (\S+?)([kMG]) trial moves/s", output)[-1]
                found.append(float(number) * {"k": 1e3, "M": 1e6, "G": 1e9}[unit])
            ratios.append(found[1] / found[0])
            print(
                f"1 rank {found[0] / 1e6:.0f} M trial moves/s, 2 ranks {found[1] / 1e6:.0f} M: {ratios[-1]:.2f} times"
            )
    print(f"two ranks {statistics.median(ratios):.2f} times one")


def campaign() -> None:
    """Whole commands on two ranks: the published size in proved equilibrium, a scan over γ, a second start."""
    with tempfile.TemporaryDirectory() as folder:
        lj_vae(2, "generate", "-o", f"{folder}/first", "-s sampling.configurations=10")
        seconds = []
        for k in range(5):
            arguments = ["lj-vae", "generate", "-o", f"{folder}/second-{k}", "-s", "sampling.configurations=10"]
            done = subprocess.run(
                [sys.executable, "-c", FIRST_MOVES, str(time.time()), *arguments], capture_output=True, text=True,
                check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            seconds.append(float(done.stdout.splitlines()[-1]))
        print(
            f"second start: {statistics.median(seconds):.2f} s until `lj-vae generate` has made its first trial moves "
            f"(from {min(seconds):.2f} to {max(seconds):.2f})"
        )
        _, published, memory = lj_vae(
            2, "generate", "-o", f"{folder}/published", "-c", ROOT / "configs/equilibrated.yaml"
        )
        print(f"4 x 10,000 in proved equilibrium on 2 ranks: {published:.1f} s, {memory:.0f} MB per rank")
        for count in (40, 200):
            _, wall, memory = lj_vae(
                2, "generate", "-o", f"{folder}/scan-{count}", "-s sampling.configurations=1000",
                f"-s 'sampling.gammas={{start: 0.005, stop: 1.995, num: {count}}}'",
            )  # fmt: skip
            print(
                f"{count} x 1,000 in proved equilibrium on 2 ranks: {wall:.1f} s, {memory:.0f} MB per rank, "
                f"{wall / published:.2f} times 4 x 10,000"
            )


def growth() -> None:
    """Scans of eight γ that grow by one γ, against the nine of them made at once, and what starting takes of both."""
    eight, nine = ("{start: 0.2, stop: 1.95, num: 8}", "{start: 0.2, stop: 2.2, num: 9}")
    for count in (500, 5000):
        seconds = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                settings = f"-s sampling.configurations={count}"
                lj_vae(2, "generate", "-o", f"{folder}/grown", settings, f"-s 'sampling.gammas={eight}'")
                _, grown, _ = lj_vae(2, "generate", "-o", f"{folder}/grown", f"-s 'sampling.gammas={nine}'")
                _, start, _ = lj_vae(2, "generate", "-o", f"{folder}/grown")
                _, anew, _ = lj_vae(2, "generate", "-o", f"{folder}/anew", settings, f"-s 'sampling.gammas={nine}'")
                files = (Path(folder) / name / "data" / "dataset.h5" for name in ("grown", "anew"))
                if len({file.read_bytes() for file in files}) > 1:
                    raise SystemExit("the grown data set differs from the one made at once")
                seconds.append((grown, anew, start))
        grown, anew, start = map(statistics.median, zip(*seconds, strict=True))
        print(
            f"8 x {count} grown by one γ: {grown:.1f} s; all nine anew: {anew:.1f} s; {100 * grown / anew:.0f} %, or "
            f"{100 * (grown - start) / (anew - start):.0f} % without the {start:.1f} s that a command takes to start"
        )
    print("grown data and those made at once have the same bytes")
