"""Loaded by every Python that works on a campaign: writes down which job, or none, samples which segment, and when.

Each segment takes a little longer, so that a test can disturb it. If RECORD_SLOWLY is set, the first element of an
array waits with its segment until it is asked to stop, once. A CLASH is a segment that another job is sampling.
"""

import os
import sys
import time
from pathlib import Path


def record() -> None:
    from lj_vae_hpc.sampling.production import Production

    log = Path(os.environ["RECORD"])
    job = f"{os.environ.get('SLURM_JOB_ID', 'none')}.{os.environ.get('SLURM_RESTART_COUNT', 0)}"
    slowly = "RECORD_SLOWLY" in os.environ and os.environ.get("SLURM_ARRAY_TASK_ID") == "0"
    sample = Production._sample

    def note(*words: object) -> None:
        with log.open("a") as file:  # in one write
            file.write(" ".join(map(str, words)) + "\n")

    def recorded(self, task, *rest):
        segment = f"{task.folder.name}/{task.rows.start}-{task.rows.stop}"
        note("START", segment, job, os.getpid())
        running = set()
        for word, *which in map(str.split, log.read_text().splitlines()):
            if word == "START":
                running.add(tuple(which))
            elif word == "END":
                running.discard(tuple(which))
        for other in running:
            if other[0] == segment and other[1] != job and Path(f"/proc/{other[2]}").exists():
                note("CLASH", segment, job, os.getpid(), *other[1:])
        time.sleep(0.4)
        if slowly and "STOP" not in log.read_text():
            while not self._world.stop.due():
                time.sleep(0.1)
            note("STOP", segment, job, os.getpid())
        columns = sample(self, task, *rest)
        note("END", segment, job, os.getpid())
        return columns

    Production._sample = recorded


if "RECORD" in os.environ and sys.orig_argv[1:5] == ["-m", "lj_vae_hpc", "scan", "run"]:
    record()
