"""Pages that are made from the program are what it makes, and can be read as they are."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from docs import make_commands, make_interface
from lj_vae_hpc.config.run import RunConfig
from tests.conftest import ROOT

MADE = {"commands": make_commands, "interface": make_interface}


@pytest.mark.parametrize("page", MADE)
def test_made_pages_are_up_to_date(page: str) -> None:
    assert MADE[page].main() == (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")


def test_every_option_and_method_is_there() -> None:
    commands, interface = make_commands.main(), make_interface.main()
    for words in ("## lj-vae score", "### lj-vae scan submit", "`--center`", "`-o, --output RUN_DIR`"):
        assert words in commands
    for words in ("### model.sample(n, gamma=None, seed=0, sweeps=0)", "- `sweeps`: Monte", "### run.suite(name)"):
        assert words in interface
    assert "eval-rst" not in commands + interface + (ROOT / "docs/python.md").read_text(encoding="utf-8")


def test_the_examples_of_a_score_and_of_a_suite() -> None:
    made: dict[str, type] = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/development.md").read_text(encoding="utf-8"), re.S):
        exec(code, made)
    positions = np.random.default_rng(0).uniform(0, 10, (3, 30, 2)).astype(np.float32)
    assert made["MeanHeight"]()(SimpleNamespace(height=positions[..., 1])).shape == (3,)
    (suite,) = made["UpsideDown"].of(RunConfig())
    turned, _ = suite.read(SimpleNamespace(read=lambda _: (positions, np.zeros(3))), range(3))
    np.testing.assert_allclose(turned[:, 0, 1], 10 - positions[:, -1, 1], rtol=1e-6)
