"""Mutated configurations: accepted, or refused with one message, and never anything else.

Run by hand for longer: LJ_VAE_FUZZ_EXAMPLES=5000 pytest tests/fuzz/test_configuration.py
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.checks import check_evaluation
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.training.memory import check_memory
from lj_vae_hpc.training.setup import check_networks, check_splits

EXAMPLES = int(os.environ.get("LJ_VAE_FUZZ_EXAMPLES", "100"))
SECONDS = 20.0
LONGEST = 3000  # characters of a message


def leaves(tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of a tree that may be changed: every key, at every level."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*place, str(key))
            yield from leaves(value, (*place, str(key)))


TREE = RunConfig().model_dump(mode="json")
OTHERS = (
    ("evaluation", "fluids", "new", "potential"), ("evaluation", "corruptions", "new", "amplitude"),
    ("evaluation", "files", "new"), ("sampling", "gammas", "num"), ("scan", "grid", "model.width"),
    ("tuning", "space", "model.depth"), ("system", "potential", "kind"), ("unknown", "key"),
)  # fmt: skip
PLACES = sorted({*leaves(TREE), *OTHERS})

SPECIAL = st.sampled_from([
    0, -1, 1, 2**31, 2**31 - 1, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e300, -1e300, 1e-320, 5e-324, 1e9, 9e15, -0.0,
    float("nan"), float("inf"), True, False, None, "", ".", "..", "a/b", "a\0b", "a\nb", "ä", "auto", "null", "1e400",
    "9" * 400, "x" * 300, [], {}, [[]], [0.1, 0.1 + 1e-17], [1, "a"], {"kind": "yukawa", "kappa": 1e300}, {"low": 1},
    {"start": 0, "stop": 1, "num": 50_000}, {"start": -1e308, "stop": 1e308, "num": 3}, list(range(3000)),
    {"low": 1, "high": 1e300, "spacing": "log"}, {"kind": "mie", "repulsive": 48, "attractive": 2}, "\ud800",
])  # fmt: skip
NAMES = st.text(max_size=8) | st.sampled_from([place[-1] for place in PLACES])
VALUES = SPECIAL | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3)


def check(overrides: tuple[str, ...], folder: RunDir, path: Any = None) -> None:
    """What `lj-vae run` does before it samples."""
    started = time.monotonic()
    try:
        config = load(path, overrides)
        config.to_yaml().encode()
        check_networks(config)
        check_splits(config)
        check_memory(config)
        check_evaluation(folder, config, sorted(config.sampling.gamma_values))
    except UserError as error:
        assert 0 < len(str(error)) < LONGEST
        assert "\n" not in str(error)
    assert time.monotonic() - started < SECONDS


FUZZ = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@FUZZ
@given(changes=CHANGES)
def test_changed_trees(changes: list[tuple[tuple[str, ...], Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    tree: Any = {}
    for place, value in changes:
        inner = tree
        for key in place[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[place[-1]] = value
    path = folder / "fuzz.yaml"
    text = yaml.safe_dump(tree)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    check((), RunDir(folder / "run"), path)


@FUZZ
@given(place=st.sampled_from(PLACES), text=st.text(max_size=20) | SPECIAL.map(lambda value: f"{value!r}"))
def test_changed_keys(place: tuple[str, ...], text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check((f"{'.'.join(place)}={text}",), RunDir(tmp_path_factory.getbasetemp() / "run"))


@FUZZ
@given(override=st.text(max_size=30) | st.text("=.[]{}:,&*!#'\"\n -sedgamplingy0123", max_size=40))
def test_any_text_as_an_override(override: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check((override,), RunDir(tmp_path_factory.getbasetemp() / "run"))


@FUZZ
@given(content=st.binary(max_size=60) | st.text("[]{}:,&*!|>#'\"\n -seed0\t%@`?", max_size=60).map(str.encode))
def test_any_bytes_as_a_file(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "bytes.yaml").write_bytes(content)
    check((), RunDir(folder / "run"), folder / "bytes.yaml")


@FUZZ
@given(data=st.data())
def test_a_shipped_configuration_with_some_characters_changed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = list(RunConfig().to_yaml())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(
            st.characters() | st.sampled_from(":-[]{}&*'\"\n 90.e")
        )
    (folder / "text.yaml").write_text("".join(text), encoding="utf-8", errors="replace")
    check((), RunDir(folder / "run"), folder / "text.yaml")
