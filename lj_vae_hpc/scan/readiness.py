"""Whether jobs can be submitted from here: what the site file sets, and what Slurm answers."""

import re
import shutil
from pathlib import Path

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.scan.slurm import Slurm, jobs_file, run_on_site

SHOWN = ("LJ_VAE_LAUNCHER", "LJ_VAE_RUNS", "SBATCH_ACCOUNT", "SBATCH_PARTITION")


def describe_site() -> str:
    """The site file and what it sets.

    Raises:
        UserError: it is missing or cannot be read, the launcher does not exist, or Slurm does not have its kind of MPI.
    """
    site = jobs_file("site.sh")
    done = run_on_site(site, "env")
    if done.returncode:
        raise UserError(f"{site} ends with status {done.returncode}: {' '.join(done.stderr.split())}")
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    launcher = values.get("LJ_VAE_LAUNCHER", "").split() or [""]
    path = values.get("PATH")
    if shutil.which(launcher[0], path=path) is None:
        if shutil.which("sbatch", path=path) is None and launcher[0] == "srun":
            return f"{site}, for a machine with Slurm"
        raise UserError(f"{site} sets LJ_VAE_LAUNCHER to '{' '.join(launcher)}', and there is no {launcher[0]} here")
    kind = re.search(r"--mpi[= ](\S+)", " ".join(launcher))
    if kind and answers("scontrol", "ping"):
        known = re.findall(r"\w+", run_on_site(site, "srun", "--mpi=list").stdout.partition("are...")[2])
        if kind[1] not in known:
            raise UserError(f"{site} starts ranks by `{' '.join(launcher)}`, and this srun has {', '.join(known)}")
    runs = values.get("LJ_VAE_RUNS")
    if runs and not Path(runs).is_dir():
        raise UserError(f"{site} sets LJ_VAE_RUNS to {runs}, which is no folder; make it or name another")
    return f"{site}: " + ", ".join(f"{name}={values[name]}" for name in SHOWN if name in values)


def describe_slurm() -> str:
    """What Slurm lets this user submit, and whether it remembers jobs that have ended."""
    if run_on_site(jobs_file("site.sh"), "command", "-v", "sbatch").returncode:
        return "no sbatch here: jobs/ cannot be submitted from this machine"
    if not answers("scontrol", "ping"):
        return "does not answer: jobs/ cannot be submitted from this machine"
    limits = Slurm(Path()).limits()
    most = "any number of jobs" if limits.jobs is None else f"at most {limits.jobs} jobs in the queue"
    accounting = "sacct answers" if answers("sacct") else "no sacct: logs alone tell how jobs ended"
    return f"arrays of up to {limits.array} elements, {most}, {accounting}"


def answers(*command: str) -> bool:
    """Whether a command of Slurm succeeds."""
    return not run_on_site(jobs_file("site.sh"), *command).returncode
