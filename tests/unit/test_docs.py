"""Pages that are made from the program are what it makes, and can be read as they are."""

import pytest

from docs import make_commands, make_interface
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
