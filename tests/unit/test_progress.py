"""Progress of steps: what begins, which it is, and what is left by those that are done."""

import pytest

from lj_vae_hpc.progress import Steps, duration


def test_steps_say_what_is_left_by_their_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is read once when they start, and once for each step after the first: 10 s for 2 of 8."""
    clock = iter([100.0, 110.0, 140.0])
    monkeypatch.setattr("lj_vae_hpc.progress.time.monotonic", lambda: next(clock))
    steps = Steps("studies", [2.0, 4.0, 2.0], shown=True)
    for name in ("a", "b", "c"):
        steps.begin(name)
    assert capsys.readouterr().out.splitlines() == [
        "studies: a, 1 of 3", "studies: b, 2 of 3, 00:30 left", "studies: c, 3 of 3, 00:13 left",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "under 1 s"), (45.4, "45 s"), (59.7, "1 min"), (320, "5 min 20 s"), (5760, "1 h 36 min"),
     (3599.9, "1 h"), (4e6, "1,111 h 6 min")],
)  # fmt: skip
def test_durations_have_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    Steps("studies", [1.0], shown=False).begin("a")
    assert not capsys.readouterr().out
