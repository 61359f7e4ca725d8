"""Submission and status of a campaign, against a seeded scheduler with failures, requeues and limits."""

from pathlib import Path

import pytest

from benchmarks.simulation import SimulatedSlurm
from lj_vae_hpc.config.load import validated
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.scan.batches import Batches
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.cost import Costs, kind_of, moves_of
from lj_vae_hpc.scan.plan import check_time_limit, describe_plan
from lj_vae_hpc.scan.resources import Resources, resources_of
from lj_vae_hpc.scan.slurm import Array, Limits
from lj_vae_hpc.scan.status import Status
from lj_vae_hpc.scan.submit import Submission, Submitter

CHECKOUT = Path(__file__).parents[2]


def campaign_in(folder: Path, gammas: int = 40, **scan: object) -> Campaign:
    """A campaign that is never computed."""
    values = [round(0.1 * k, 1) for k in range(1, gammas + 1)]
    tree = {"sampling": {"protocol": "reference", "sweeps": 1000, "gammas": values, "configurations": 100},
            "evaluation": {"unseen_gammas": []}, "scan": scan}  # fmt: skip
    return Campaign(folder, validated(tree, "test"))


def submitted(campaign: Campaign, slurm: SimulatedSlurm, tasks: int = 3) -> Submission:
    """What a submission does, with so many ensembles per element."""
    slurm.campaign = campaign
    return Submitter(campaign, slurm, {"sample": tasks}).submit()


def drained(slurm: SimulatedSlurm) -> None:
    """Until the queue is empty."""
    while not slurm.is_empty:
        slurm.step()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_done_twice(tmp_path: Path, seed: int) -> None:
    """With submissions while jobs run, a full queue, and a campaign that grows meanwhile."""
    models = [{"gammas": [0.1 * k, 0.1 * k + 0.1]} for k in (1, 2, 3)]
    models = [{"gammas": [round(g, 1) for g in model["gammas"]]} for model in models]
    few = campaign_in(tmp_path, 300, grid={"seed": [1, 2, 3]}, models=models)
    many = campaign_in(tmp_path, 420, grid={"seed": [1, 2, 3, 4, 5]}, models=models)
    slurm = SimulatedSlurm(few, slots=20, allowed=Limits(25, 60), failing=0.03, stopping=0.1, seed=seed)
    calls = 0
    while len(many.done()) < len(many.tasks):
        submitted(few if calls < 5 else many, slurm)
        for _ in range(7):
            slurm.step()
        calls += 1
        assert calls < 300
    drained(slurm)
    assert set(slurm.runs.values()) == {1} and many.tasks.keys() <= slurm.runs.keys()
    assert slurm.failed and slurm.stopped and slurm.cancelled and not slurm.refused
    assert set(Status(many, slurm).states.values()) == {"done"}


def test_what_waits_and_what_does_not_fit(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path, 40, models=[{}])
    slurm = SimulatedSlurm(campaign, slots=2, allowed=Limits(8, 12), failing=0, stopping=0)
    first = submitted(campaign, slurm)  # 14 elements of three γ, and 12 may be in the queue
    assert [len(batch.elements) for batch in first.arrays] == [8, 4] and (first.tasks, first.left) == (36, 6)
    assert all(isinstance(batch.job, int) for batch in first.arrays), "printed, so that people can look for it"
    assert submitted(campaign, slurm).tasks == 0
    slurm.step()
    states = Status(campaign, slurm).states
    assert sorted(set(states.values())) == ["done", "not submitted", "running", "waiting"]
    assert (list(states.values()).count("done"), list(states.values()).count("running")) == (2, 4)
    campaign.measured.mkdir()
    (campaign.measured / "one.json").write_text('{"gammas": 1, "configurations": 100, "core_seconds": 60.0}')
    left = "left: 38 min of one core, 19 min on the 2 cores that work now; besides, 1 task of a kind that is not timed"
    assert left in Status(campaign, slurm).text()
    drained(slurm)
    second = submitted(campaign, slurm)
    assert (second.tasks, second.left, second.done) == (6, 0, 36)
    assert [len(batch.elements) for batch in second.arrays] == [2, 1, 1]  # γ, the data set, the model
    drained(slurm)
    assert not Submitter(campaign, slurm, {}).submit().arrays and not campaign.tasks.keys() - campaign.done()


def test_a_limit_that_slurm_does_not_tell(tmp_path: Path) -> None:
    """As many as it lets in, and the rest later; if it lets in none, its own words."""
    campaign = campaign_in(tmp_path, 40)
    slurm = SimulatedSlurm(campaign, slots=50, allowed=Limits(1001, None), failing=0, stopping=0, hidden=13)
    first = submitted(campaign, slurm, tasks=1)
    assert sum(len(batch.elements) for batch in first.arrays) == 13 and first.left == 28
    assert "QOSMaxSubmitJobPerUserLimit" in first.refusal
    while campaign.tasks.keys() - campaign.done():
        submitted(campaign, slurm, tasks=1)
        drained(slurm)
    slurm.hidden = 0
    with pytest.raises(UserError, match="QOSMaxSubmitJobPerUserLimit"):
        submitted(campaign_in(tmp_path, 41), slurm)


def test_what_slurm_accepts_without_being_heard_is_not_submitted_again(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path, 40)
    slurm = SimulatedSlurm(campaign, slots=2, allowed=Limits(1001, None), failing=0, stopping=0)
    accept = slurm.submit

    def unheard(array: Array) -> int:
        accept(array)
        raise UserError("sbatch refused: Socket timed out on send/recv operation")

    slurm.submit = unheard  # type: ignore[method-assign]
    with pytest.raises(UserError, match="Socket timed out"):
        submitted(campaign, slurm)
    slurm.submit = accept  # type: ignore[method-assign]
    assert set(list(Status(campaign, slurm).states.values())[:40]) == {"waiting"}
    second = submitted(campaign, slurm)
    assert (second.queued, second.tasks) == (40, 1) and Batches(campaign).all[0].job == 1
    drained(slurm)
    assert not campaign.tasks.keys() - campaign.done() and set(slurm.runs.values()) == {1}


def test_a_failure_holds_up_only_what_needs_it(tmp_path: Path) -> None:
    """Two models over other γ are trained though the data set of all γ is not to be had."""
    campaign = campaign_in(tmp_path, 40, models=[{"gammas": [0.1, 0.2]}, {"gammas": [0.3, 0.4]}, {}])
    slurm = SimulatedSlurm(campaign, slots=50, allowed=Limits(1001, None), failing=0, stopping=0)
    submitted(campaign, slurm, tasks=1)
    bad = campaign.samples[20].key
    slurm.dies_at.add(bad)
    drained(slurm)
    left = [task.kind for key, task in campaign.tasks.items() if key not in campaign.done()]
    assert left == ["sample", "data", "model"]
    status = Status(campaign, slurm)
    log = campaign.state / "logs" / f"{Batches(campaign).name(Batches(campaign).all[0])}-20.out"
    log.parent.mkdir()
    log.write_text("starting\nslurmstepd: error: killed\n\n")
    assert status.states[bad] == "failed"
    elsewhere = Status(campaign)
    assert elsewhere.states[bad] == "waiting" and "no Slurm on this machine to ask" in elsewhere.text()
    assert f"failed: γ = 2.1: job 1_20 ended as FAILED; {log.name}: slurmstepd: error: killed" in status.text()
    slurm.dies_at.clear()
    assert submitted(campaign, slurm).tasks == 3
    drained(slurm)
    assert len(campaign.done()) == len(campaign.tasks)


def test_what_is_left_of_an_array_is_waited_for_element_by_element(tmp_path: Path) -> None:
    """One of its elements has failed, and all of the array will never have succeeded."""
    campaign = campaign_in(tmp_path)
    slurm = SimulatedSlurm(campaign, slots=1, allowed=Limits(1001, None), failing=0, stopping=0)
    submitted(campaign, slurm, tasks=1)
    slurm.dies_at.add(campaign.samples[0].key)
    slurm.step()
    slurm.dies_at.clear()
    slurm.step()
    again = submitted(campaign, slurm, tasks=1)
    assert (again.tasks, again.queued) == (2, 39 - len(campaign.done()))
    drained(slurm)
    assert len(campaign.done()) == len(campaign.tasks)


def test_a_submission_that_was_killed_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After sbatch and before its answer was noted: the name in the queue says what is there."""
    campaign = campaign_in(tmp_path)
    slurm = SimulatedSlurm(campaign, slots=5, allowed=Limits(1001, None), failing=0, stopping=0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "submitted", killed)
        with pytest.raises(KeyboardInterrupt):
            submitted(campaign, slurm)
    assert submitted(campaign, slurm).queued == 40
    drained(slurm)
    assert set(slurm.runs.values()) == {1} and len(campaign.done()) == len(campaign.tasks)


def test_a_refused_submission_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_in(tmp_path)
    slurm = SimulatedSlurm(campaign, slots=5, allowed=Limits(1001, None), failing=0, stopping=0)
    submit = Submitter(campaign, slurm, {})
    slurm.allowed = Limits(1, None)
    with pytest.raises(UserError, match="sbatch refused"):
        submit.submit()
    assert not Batches(campaign).latest and set(Status(campaign, slurm).states.values()) == {"not submitted"}
    slurm.allowed = Limits(1001, None)
    assert next(batch.number for batch in submitted(campaign, slurm).arrays) == 1, "no number is used twice"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (8, 3600)),
        (("-n", "64", "-t5"), (64, 300)),
        (("--ntasks=4", "--time", "1-02"), (4, 93600)),
        (("--nodes=64", "--ntasks-per-node=64", "--time=2:30:00"), (4096, 9000)),
        (("--time=2:30",), (8, 150)),
        (("--time=0", "--account=x", "-p", "long"), (8, None)),
    ],
)
def test_resources(options: tuple[str, ...], expected: tuple[int, float | None]) -> None:
    assert resources_of(CHECKOUT / "jobs/scan.slurm", options) == Resources(*expected)


def test_bad_resources(tmp_path: Path) -> None:
    script = CHECKOUT / "jobs/scan.slurm"
    with pytest.raises(UserError, match="--time=soon: expected minutes"):
        resources_of(script, ("--time=soon",))
    with pytest.raises(UserError, match="whole numbers"):
        resources_of(script, ("--ntasks=many",))
    with pytest.raises(UserError, match="runs/x: expected options of sbatch after --"):
        resources_of(script, ("runs/x",))
    campaign = campaign_in(tmp_path, 3)
    costs = Costs(campaign)
    costs.__dict__["rate"] = 1000.0  # a slow machine: 100 x 30 x 1000 moves take 3000 s
    check_time_limit(costs, Resources(1, 3600))
    check_time_limit(costs, Resources(8, 500))
    with pytest.raises(UserError, match=r"time limit of a job is 10 min, and one segment .* 50 min on 1 ranks"):
        check_time_limit(costs, Resources(1, 600))


def test_a_plan(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path, 40, models=[{"training.epochs": 40, "seed": s} for s in (1, 2)])
    costs = Costs(campaign)
    kind = kind_of(campaign.models[0].config)
    costs.__dict__["rate"], costs.__dict__["per_epoch"] = 1e6, {kind: 1e-3}
    text = describe_plan(campaign, costs, Resources(10, 3600), at_once=1, minutes=0.5, cores=2)
    lines = [line.split() for line in text.splitlines()]
    # 40 x 3 s of sampling, 2 x 40 x 100 x 40 epochs at 1 ms; 10 ranks x 30 s a job: 100 γ
    assert lines[2] == ["sample", "40", "0", "2", "min", "1"]
    assert lines[4] == ["model", "2", "0", "5", "min", "20", "s", "2"]
    besides = "and the evaluation of 2 models, which is not timed yet"
    assert f"with Slurm: 44 s {besides}" in text and f"here: 3 min 40 s {besides}" in text
    assert (
        f"by `mpirun -n 2 lj-vae scan run -o {campaign.path}` with the same -c on the 2 cores" in text
        and "files: 40 segments" in text
    )
    costs.__dict__["_trained"] = {kind: [(campaign.models[0], 200.0)]}
    text = describe_plan(campaign, costs, Resources(10, 3600), at_once=1, minutes=0.5, cores=1)
    assert "here: 7 min 20 s, by `lj-vae scan run -o" in text and "training and evaluation: 1,000 conf" in text
    assert not list(tmp_path.iterdir())


def test_chains_that_prove_equilibrium_and_give_data_cost_once() -> None:
    """256 chains of 1,750 sweeps are assumed to prove it, and 850 sweeps of each further chain."""
    config = validated({"system": {"n_particles": 30}, "sampling": {"protocol": "equilibrated", "sweeps": 1}}, "test")
    proof = 256 * 1750 * 30
    assert [moves_of(config, count) for count in (10, 256, 266)] == [proof, proof, proof + 10 * 850 * 30]


def test_the_slowest_model_counts_where_all_run_at_once(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path, 40, models=[{"training.epochs": 40}, {"training.epochs": 40, "model.width": 8}])
    costs = Costs(campaign)
    slow, fast = (kind_of(task.config) for task in campaign.models)
    costs.__dict__["rate"], costs.__dict__["per_epoch"] = 1e6, {slow: 1e-2, fast: 1e-5}
    text = describe_plan(campaign, costs, Resources(10, 3600), at_once=None, minutes=30.0, cores=2)
    assert "with Slurm: 2 min 52 s and" in text  # 12 s of sampling, then 1,600 core seconds on 10 ranks


def test_a_time_limit_that_is_refused_is_no_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_in(tmp_path, 40, models=[{}])
    slurm = SimulatedSlurm(campaign, slots=5, allowed=Limits(1001, None), failing=0, stopping=0)
    accepted = slurm.submit

    def submit(array: Array) -> int:
        if array.kind == "model":
            raise UserError("sbatch refused: Requested time limit is invalid (missing or exceeds some limit)")
        return accepted(array)

    monkeypatch.setattr(slurm, "submit", submit)
    with pytest.raises(UserError, match="time limit is invalid"):
        submitted(campaign, slurm)
