"""Runs a command on some ranks, for the benchmarks that measure whole commands."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lj_vae(ranks: int, *arguments: object) -> tuple[str, float, float]:
    """Output, wall seconds and largest resident memory of a process (MB) of the command line on some ranks."""
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "-n", str(ranks), "/usr/bin/env", "bash", "-c"]
    # The shell that is not replaced can ask for the memory of its only child.
    script = f"{sys.executable} -c 'import resource, subprocess, sys; s = subprocess.call(sys.argv[1:]); " + (
        'sys.stdout.write("\\nMB=%d\\n" % (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1e3)); sys.exit(s)'
        f"' {ROOT}/bin/lj-vae {' '.join(map(str, arguments))}"
    )
    started = time.perf_counter()
    done = subprocess.run([*command, script], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout, time.perf_counter() - started, max(map(float, re.findall(r"MB=(\d+)", done.stdout)))
