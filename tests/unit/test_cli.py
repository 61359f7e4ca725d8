"""The commands as a user gives them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import pytest
import yaml

from lj_vae_hpc.cli import cli
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.stages import doctor
from lj_vae_hpc.stages.generate import generate
from lj_vae_hpc.stages.train import train
from lj_vae_hpc.stages.verify import verify
from tests.conftest import ROOT, sampled_run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_verify_names_the_damaged_files(lj_vae: Run, tmp_path: Path) -> None:
    path = sampled_run(tmp_path / "run")
    dataset, segment = path / "data/dataset.h5", min(path.glob("data/ensembles/*/*-*.h5"))
    pilot, before = segment.parent / "pilot.h5", dataset.read_bytes()
    for file in (dataset, segment, pilot):
        data = bytearray(file.read_bytes())
        with h5py.File(file) as opened:
            at = opened["positions"].id.get_offset() + 100
        data[at] ^= 1
        file.write_bytes(data)
    done = lj_vae("verify", "-o", path, ranks=2)
    assert done.returncode == 2 and all(f"damaged file {file}" in done.stderr for file in (dataset, segment, pilot))
    for file in (dataset, segment, pilot):
        file.unlink()
    assert lj_vae("generate", "-o", path).returncode == 0
    assert dataset.read_bytes() == before
    verify(World(), dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "-s", "sampling.nonsense=1"), "unknown key sampling.nonsense"),
        (("generate", "-c", "missing.yaml"), "cannot read the configuration missing.yaml"),
        (("train",), "no data set in"),
        (("evaluate",), "no data set in"),
        (("report",), "no data set in"),
        (("inspect",), "no data set in"),
        (("scan", "status"), "no campaign in"),
        (
            ("scan", "run", "-c", str(ROOT / "configs/scan.yaml"), "-s", "scan.models=[{gammas: [9]}]"),
            "gammas 9 are not sampled",
        ),
        (("scan", "plan", "-c", str(ROOT / "configs/scan.yaml"), "--", "--time=soon"), "--time=soon: expected minutes"),
        (("generate", "-s", "sampling.gammas=[0.1,", "0.4]"), "ends inside brackets; quote what has blanks"),
        (("inspect", str(ROOT / "configs")), "configs is a folder, not a file; the data set of a run is given as -o "),
        (("frobnicate",), "No such command"),
        (("generate", "--colour"), "No such option"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    arguments: tuple[str, ...], message: str, lj_vae: Run, tmp_path: Path
) -> None:
    extra = ("-o", tmp_path / "run") if arguments[0] != "frobnicate" else ()
    done = lj_vae(*arguments, *extra)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_messages_name_the_command_as_it_was_called_and_the_runs_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"runs/{name}/data").mkdir(parents=True)
        (tmp_path / f"runs/{name}/data/dataset.h5").touch()
    (tmp_path / "bin").symlink_to(ROOT / "bin")
    monkeypatch.delenv("LJ_VAE_COMMAND", raising=False)

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60).stderr

    missing = "no data set in runs/equilibrated: runs/equilibrated does not exist; "
    assert f"{missing}name a run with -o; here are runs/one, runs/two\n" in said("bin/lj-vae", "score", "mine.npy")
    assert f"{missing}run `bin/lj-vae generate -o runs/equilibrated` first" in said("bin/lj-vae", "train")
    assert "Usage: bin/lj-vae train" in said("bin/lj-vae", "train", "--nonsense")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert f"{missing}run `lj-vae generate -o runs/equilibrated` first" in said("lj-vae", "train")


def test_sampling_says_the_density(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampled_run(tmp_path / "run")
    said = "sampling: 8 particles in a box of side 5 σ, density 0.32 σ⁻²; system.box_side=5.164 has the 0.3 σ⁻² of the"
    assert said in capsys.readouterr().out
    sampled_run(tmp_path / "same", "system.box_side=5.164")
    assert "density 0.3 σ⁻²\n" in capsys.readouterr().out


def test_a_key_that_is_new_orphans_nothing(tmp_path: Path) -> None:
    """What was made before a key existed is compared as if the key had its default."""
    path = sampled_run(tmp_path / "run")
    train(World(), *open_run(World(), path, None))
    tree = yaml.safe_load((path / "config.yaml").read_text())
    del tree["sampling"]["target_acceptance"], tree["model"]["conditional"], tree["objective"]["fisher_weight"]
    (path / "config.yaml").write_text(yaml.safe_dump(tree))
    run, config = open_run(World(), path, None, ("training.epochs=2",))
    generate(World(), run, config)
    train(World(), run, config)


def test_ctrl_c_saves_and_ends_with_75(tmp_path: Path) -> None:
    """Alone: the signal of a terminal; the same command continues."""
    settings = ("system.n_particles=8", "system.box_side=5", "sampling.protocol=reference", "sampling.gammas=[0.1]",
                "sampling.sweeps=4000", "sampling.configurations=6000", "sampling.segment_rows=100")  # fmt: skip
    command = [ROOT / "bin/lj-vae", "generate", "-o", tmp_path / "run", *(w for s in settings for w in ("-s", s))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("run/data/ensembles/*/*-*.h5")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and said.count("run the same command again to continue") == 1 and not errors
    kept = set(tmp_path.glob("run/data/ensembles/*/*-*.h5"))
    assert 0 < len(kept) < 60


def test_what_may_still_be_changed(tmp_path: Path) -> None:
    path = sampled_run(tmp_path / "run")

    def again(*settings: str) -> tuple[RunDir, RunConfig]:
        return open_run(World(), path, None, settings)

    train(World(), *again("model.latent_dim=3"))  # nothing was trained yet
    for setting in ("model.latent_dim=4", "seed=4"):
        with pytest.raises(UserError, match=f"{setting.split('=')[0]} is 3 there, 4 here"):
            again(setting)
    again("evaluation.configurations=30", "sampling.configurations=70", "sampling.gammas=[0.1,0.3,1.0]")


def test_an_output_folder_without_permission(lj_vae: Run, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = lj_vae("generate", "-o", blocked / "run")
    assert done.returncode == 2 and "cannot write the output folder" in done.stderr


def test_doctor_on_nodes_whose_gpus_nccl_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.local_size = 0  # of another node
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    assert doctor._network(world) == "nodes reach each other over what NCCL chooses"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    assert doctor._network(world) == "nodes reach each other over ib0"


def test_threads_of_a_rank_are_at_most_those_of_its_slurm_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, threads in (("1", 1), ("100000", len(os.sched_getaffinity(0)))):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert World().threads_per_rank() == threads


def test_doctor(lj_vae: Run, tmp_path: Path) -> None:
    done = lj_vae("doctor", "-o", tmp_path, ranks=2)
    assert done.returncode == 0 and "2 ranks wrote one file in" in done.stdout and "training on" in done.stdout
    assert not list(tmp_path.iterdir())
    done = lj_vae("doctor", "-o", "/proc/none", ranks=2)
    assert done.returncode == 2 and "not ready: output folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("stage", ["generate", "scan", "train", "tune"])
def test_ranks_start_without_what_they_do_not_need(stage: str) -> None:
    """Every rank of every job reads its libraries from the cluster's disk."""
    slow = {"matplotlib", "scipy.stats", "sklearn"} | ({"torch"} if stage in ("generate", "scan") else set())
    code = f"import sys, lj_vae_hpc.cli, lj_vae_hpc.stages.{stage}; print(*sys.modules.keys() & {slow})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "\n"


MODULES = """
import atexit, runpy, sys
atexit.register(lambda: print("MPI started:", "mpi4py.MPI" in sys.modules))
sys.argv = ["lj-vae", "inspect", "-o", sys.argv[1]]
runpy.run_module("lj_vae_hpc", run_name="__main__")
"""


@pytest.mark.parametrize("launcher", [(), ("mpirun", "-n", "1")], ids=["alone", "mpirun"])
def test_a_process_without_a_launcher_starts_no_mpi(launcher: tuple[str, ...], tmp_path: Path) -> None:
    """It fails on many login nodes, and takes half a second on others."""
    run = sampled_run(tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*launcher, sys.executable, "-c", MODULES, str(run)]
    printed = subprocess.check_output(command, env=environment, text=True)
    assert printed.splitlines()[-1] == f"MPI started: {bool(launcher)}"


def test_libraries_leave_nothing_behind(lj_vae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has no folder of its own, matplotlib makes one and removes it at the end of the process."""
    run, temporary = sampled_run(tmp_path / "run"), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("MPLCONFIGDIR", "/proc/none")
    done = lj_vae("report", "-o", run)
    assert done.returncode == 0 and "created a temporary cache directory" in done.stderr
    assert not list(temporary.iterdir())


def test_the_package_is_found_from_the_folder_that_holds_the_clone(tmp_path: Path) -> None:
    """A clone's folder has the package's name, and Python looks first where it starts."""
    (tmp_path / "lj_vae_hpc").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import lj_vae_hpc; lj_vae_hpc.open_run"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_has_examples(lj_vae: Run) -> None:
    assert "Examples:" in lj_vae("train", "--help").stdout
    for name, command in cli.commands.items():
        assert "Examples:" in command.get_help(click.Context(command)), name


FROZEN = ("-s", "system.temperature=0.02", "-s", "sampling.max_pilot_sweeps=4096", "-s", "sampling.gammas=[0.1]")


def test_an_ensemble_without_proof_of_equilibrium(lj_vae: Run, tiny: Path, tmp_path: Path) -> None:
    refused = lj_vae("generate", "-c", tiny, "-o", tmp_path / "run", *FROZEN)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "equilibrium was not proved" in refused.stderr and "sampling.max_pilot_sweeps" in refused.stderr
    assert not (tmp_path / "run" / "data" / "dataset.h5").exists()
    generate(World(), *open_run(World(), tmp_path / "run", None, ("sampling.allow_unconverged=true",)))
    assert "not proved" in lj_vae("inspect", "-o", tmp_path / "run").stdout
    with h5py.File(tmp_path / "run" / "data" / "dataset.h5") as data:
        assert data["ensembles/pilot/converged"][:].tolist() == [False]


def test_inspect_says_that_the_published_protocol_does_not_equilibrate(lj_vae: Run, tmp_path: Path) -> None:
    done = lj_vae(
        "generate",
        "-c",
        ROOT / "configs/reference.yaml",
        "-o",
        tmp_path / "run",
        "-s",
        "sampling.configurations=600",
        "-s",
        "sampling.check_equilibrium=true",
    )
    assert done.returncode == 0, done.stderr
    lines = lj_vae("inspect", "-o", tmp_path / "run").stdout.splitlines()
    verdicts = {line.split()[0]: "NOT equilibrated" in line for line in lines if "equilib" in line and "±" in line}
    # 0.7 takes some 3,000 configurations to tell.
    assert verdicts == {"0.1": True, "0.4": True, "0.7": False, "1": False}
