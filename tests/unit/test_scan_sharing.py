"""Several processes that work on a campaign, and what only looks at it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lj_vae_hpc.errors import Stopped, UserError, out_of_memory
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, link_data
from lj_vae_hpc.sampling import production
from lj_vae_hpc.sampling.claims import release
from lj_vae_hpc.scan import work
from lj_vae_hpc.scan.batches import Batches
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.stages import call, scan
from tests.campaigns import campaign_in, missing, sample
from tests.conftest import ROOT


def test_another_process_goes_on_where_one_was_stopped(tmp_path: Path) -> None:
    """The first is told to stop while the second waits for it; no segment is sampled twice."""
    settings = ("sampling.protocol=reference", "sampling.sweeps=8000", "sampling.configurations=4000",
                "sampling.segment_rows=100")  # fmt: skip
    campaign = campaign_in(tmp_path / "c", *settings)
    command = [ROOT / "bin/lj-vae", "scan", "run", "-o", tmp_path / "c"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("c/data/ensembles/*/*-*.h5")):
        assert first.poll() is None
        time.sleep(0.01)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert second.stdout and second.stdout.readline().startswith("scan: 4 tasks")
    assert "waiting for another lj-vae, which does" in second.stdout.readline()
    first.send_signal(signal.SIGUSR2)
    assert "run the same command again to continue" in first.communicate(timeout=60)[0] and first.returncode == 75
    before = {path: path.stat().st_ino for path in tmp_path.glob("c/data/ensembles/*/*-*.h5")}
    said = second.communicate(timeout=100)[0]
    assert second.returncode == 0, said
    after = {path: path.stat().st_ino for path in tmp_path.glob("c/data/ensembles/*/*-*.h5")}
    assert len(before) < len(after) == 120 and before.items() <= after.items()
    assert not missing(campaign)


def test_two_processes_share_the_models(tmp_path: Path) -> None:
    """Each model is trained by one of them, and neither calls a model failed that the other one trains."""
    settings = ("scan.grid.seed=[1,2,3,4]", "training.epochs=1", "evaluation.fluids={}", "evaluation.unseen_gammas=[]")
    campaign = campaign_in(tmp_path / "c", *settings)
    sample(campaign)
    command = [ROOT / "bin/lj-vae", "scan", "run", "-o", tmp_path / "c"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert not missing(campaign) and not list(campaign.state.glob("failed/*"))
    assert all(sum(out.count(f"scan: {task.title}") for out in said) == 1 for task in campaign.models), said
    assert all("scan: model" in out for out in said), said


def test_a_job_waits_for_another_until_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand it says so and ends; as an element of an array it goes back into the queue."""
    campaign = campaign_in(tmp_path / "c")
    batch = Batches(campaign).new([[campaign.samples[0].key]])
    campaign.run.ensembles.mkdir(parents=True)
    number = campaign.samples[0].ensemble.number
    holds = f"from lj_vae_hpc.run.lock import Claims; import sys; print(Claims(sys.argv[1]).take({number})); input()"
    store = campaign.run.ensembles / ".claims"
    other = subprocess.Popen([sys.executable, "-uc", holds, store], stdin=-1, stdout=-1, text=True, cwd=ROOT)
    assert other.stdin and other.stdout and other.stdout.readline() == "True\n"
    monkeypatch.setattr("lj_vae_hpc.stages.scan.SECONDS_TO_WAIT", 0.5)
    assert list(Status(campaign).states.values()) == ["running", *["not submitted"] * 3]

    def run(path: Path | None) -> None:
        world = World()
        world.stop.limit_hours(5 / 3600)
        scan.run(world, tmp_path / "c", None, (), path, 0, call)

    with pytest.raises(Stopped):
        run(Batches(campaign).path(batch))
    with pytest.raises(UserError, match="another lj-vae does it"):
        run(None)
    other.communicate("\n")
    assert not campaign.samples[0].is_done()


def test_status_writes_nothing(tmp_path: Path) -> None:
    """It may be asked by somebody who must not write there."""
    campaign = campaign_in(tmp_path / "c")
    campaign.run.ensembles.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert set(Status(campaign).states.values()) == {"to do"} and sorted(tmp_path.rglob("*")) == before


def test_a_link_stays_until_there_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, first, second = (RunDir(tmp_path / name) for name in ("run", "first", "second"))
    for one in (first, second):
        one.data.mkdir(parents=True)
        one.config.touch()  # else its data would be those of `run`, on another disk
    run.path.mkdir()
    link_data(run, first)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            link_data(run, second)
    assert str(run.data.readlink()) == "../first/data"
    link_data(run, second)
    assert str(run.data.readlink()) == "../second/data" and sorted(run.path.iterdir()) == [run.data]


def test_what_another_process_has_taken_after_a_failure_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three γ are sampled together and one fails; before each is tried by itself, another process has one of them."""
    campaign = campaign_in(tmp_path / "c")
    number = campaign.samples[2].ensemble.number
    takes = f"from lj_vae_hpc.run.lock import Claims; import sys; print(Claims(sys.argv[1]).take({number})); input()"
    others = []

    def failing(world, ensembles, count, store, label):
        if len(ensembles) > 1:
            release(ensembles, store)
            others.append(
                subprocess.Popen(
                    [sys.executable, "-uc", takes, store / ".claims"], stdin=-1, stdout=-1, text=True, cwd=ROOT
                )
            )
            assert others[0].stdout and others[0].stdout.readline() == "True\n"
        if ensembles[0].gamma == 0.1:
            raise UserError("equilibrium was not proved")
        production.produce(world, ensembles, count, store, label)

    monkeypatch.setattr(work, "produce", failing)
    with pytest.raises(UserError, match=r"γ = 0.1: equilibrium .* γ = 1: another lj-vae does it"):
        work.Work(World(), campaign, call, patience=0.5).run(campaign.samples)
    others[0].communicate("\n")
    assert missing(campaign)[:2] == ["γ = 0.1", "γ = 1"]
    assert [path.stem for path in campaign.state.glob("failed/*")] == [campaign.samples[0].key]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 276.00 MiB. GPU 0 has a total of 79 GiB"),
    ],
)
def test_a_model_too_large_for_the_memory_does_not_stop_the_next(error: Exception, tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path / "c", "scan.grid.seed=[1,2]", "evaluation.fluids={}")
    sample(campaign)
    tried = []

    def stage(name, world, run, config):
        tried.append(config.seed)
        if config.seed == tried[0]:
            raise error
        call(name, world, run, config)

    with pytest.raises(UserError, match=r"1 of 6 tasks are not done: model .* not enough memory") as told:
        work.Work(World(), campaign, stage).run(list(campaign.tasks.values()))
    assert out_of_memory(told.value) is None  # it says all there is to say
    assert len(missing(campaign)) == 1 and len(list(campaign.state.glob("failed/*"))) == 1


def test_a_model_whose_process_was_killed_comes_last(tmp_path: Path) -> None:
    """One that needs more memory than there is would otherwise be killed first each time, and no other ever trained."""
    campaign = campaign_in(tmp_path / "c", "scan.grid.seed=[1,2]", "evaluation.fluids={}")
    sample(campaign)
    command = (
        "import os, signal, sys; from pathlib import Path; from lj_vae_hpc.parallel.world import World; "
        "from lj_vae_hpc.scan.campaign import open_campaign; from lj_vae_hpc.scan.work import Work; "
        "campaign = open_campaign(Path(sys.argv[1]), None); "
        "Work(World(), campaign, lambda *_: os.kill(os.getpid(), signal.SIGKILL)).run(list(campaign.tasks.values()))"
    )
    done = subprocess.run([sys.executable, "-c", command, tmp_path / "c"], check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    first, second = campaign.models
    said = Status(campaign).text()
    assert f"failed: {first.title}: its process ended in the middle of it" in said and "1 failed, 1 to do" in said
    tried = []

    def stage(name, world, run, config):
        if name == "train":
            tried.append(config.seed)
        if len(tried) == 2:
            raise Stopped("as by a signal")
        call(name, world, run, config)

    with pytest.raises(Stopped):
        work.Work(World(), campaign, stage).run(list(campaign.tasks.values()))
    assert tried == [second.config.seed, first.config.seed]
    assert "model: 2 tasks, 1 done, 1 to do" in Status(campaign).text() and not list(campaign.state.glob("failed/*"))


def test_a_job_takes_the_configuration_of_its_campaign(tmp_path: Path) -> None:
    """Also where LJ_VAE_CONFIG names another, which sbatch hands on."""
    campaign = campaign_in(tmp_path / "c")
    batches = Batches(campaign)
    batch = batches.path(batches.new([[campaign.samples[0].key]]))
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "tiny.yaml").read_text().replace("sweeps: 40", "sweeps: 41"))
    scan.run(World(), tmp_path / "c", other, (), batch, 0, call)
    assert campaign.samples[0].is_done()
