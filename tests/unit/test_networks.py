"""Which networks there are, and what goes with what."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.model import network_names
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.base import Decoder, Encoder
from lj_vae_hpc.model.registry import decoder_class, encoder_class
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.training.setup import check_data, check_networks
from tests.networks import SMALL, loss_of, network_of, small_configurations

NETWORKS = [(side, name) for side in ("encoders", "decoders") for name in network_names(side)]


@pytest.mark.parametrize(("side", "name"), NETWORKS)
def test_every_file_is_a_network_that_says_what_it_is(side: str, name: str) -> None:
    network, base = (encoder_class(name), Encoder) if side == "encoders" else (decoder_class(name), Decoder)
    assert issubclass(network, base) and network.__doc__ != base.__doc__
    module = sys.modules[network.__module__]
    assert module.__name__ == f"lj_vae_hpc.model.{side}.{name}" and module.__doc__


def test_networks_are_named_after_their_files() -> None:
    assert network_names("encoders") == ["attention", "conv", "conv_strided", "mlp"]
    with pytest.raises(UserError, match=r"model\.encoder: there is no encoder resnet; choose one of attention, conv, "):
        load(None, ("model.encoder=resnet",))
    with pytest.raises(UserError, match=r"model\.decoder: there is no decoder base; choose one of attention, conv, "):
        load(None, ("model.decoder=base",))
    with pytest.raises(UserError, match=r"there is no encoder resnet"):
        load(None, ("tuning.space.model.encoder=[mlp, resnet]",))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("model.encoder=conv",), r"model\.encoder: conv works on the entries of a distance_matrix or an "
                                  r"occupancy_grid, not coordinates; mlp takes everything"),
        (("model.decoder=conv_strided", "model.linear_path=false"), r"model\.decoder: conv_strided gives the entries"),
        (("representation.kind=distance_matrix", "model.encoder=attention"), r"model\.encoder: attention works on c"),
        (("representation.kind=local_environment",), r"model\.decoder: positions gives coordinates, of which no local"),
        (("representation.kind=distance_matrix",), r"model\.linear_path: needs representation\.kind coordinates"),
        (("model.decoder=mlp",), r"model\.linear_path: needs .* not coordinates and mlp; set it to false"),
        (("model.decoder=attention", "model.width=30"), r"model\.width: 30 is no multiple of 4, which attention needs"),
        (("model.encoder=attention", "model.width=30"), r"model\.width: 30 is no multiple of 4, which attention needs"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_used_are_refused(keys: tuple[str, ...], words: str, tmp_path: Path) -> None:
    config = load(None, keys)  # which loads no network
    with pytest.raises(UserError, match=words):
        check_networks(config)
    with pytest.raises(UserError, match=words):  # before anything else
        check_data(RunDir(tmp_path), config, 1)


def test_networks_are_checked_before_anything_is_sampled(
    tmp_path: Path, lj_vae: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = lj_vae("run", "-o", tmp_path / "run", "-s", "model.decoder=conv")
    assert done.returncode == 2 and "model.decoder: conv gives" in done.stderr
    assert not (tmp_path / "run/data").exists()


def test_names_of_networks_are_known_without_torch() -> None:
    program = (
        "import sys; from lj_vae_hpc.config.load import load; import lj_vae_hpc.stages.generate; "
        "load(None, ('model.encoder=conv', 'model.decoder=attention')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_combination_that_is_accepted_runs() -> None:
    data = small_configurations()
    kinds = ("coordinates", "distance_matrix", "occupancy_grid", "local_environment")
    encoders = ("mlp", "conv", "conv_strided", "attention")
    decoders = (*encoders, "positions")
    ran = 0
    for kind, encoder, decoder, linear in itertools.product(kinds, encoders, decoders, ("true", "false")):
        keys = (f"representation.kind={kind}", f"model.encoder={encoder}", f"model.decoder={decoder}", "model.width=8",
                f"model.linear_path={linear}", "model.channels=[2, 3]")  # fmt: skip
        try:
            check_networks(load(None, (*SMALL, *keys)))
        except UserError:
            continue
        network = network_of(None, *keys, data=data)
        loss_of(network, data.part(slice(0, 3))).backward()
        ran += 1
    assert ran == 2 * 3 + 2 * 2 + 3 * 5 + 3 * 3 + 1
