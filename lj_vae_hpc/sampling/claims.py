"""Which process samples which ensemble: any number of jobs may sample different ensembles of one store at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.lock import Claims
from lj_vae_hpc.sampling.ensemble import Ensemble

NAME = ".claims"


@cache
def claims_of(store: Path) -> Claims:
    """The claims on the ensembles of a store, whose folder exists; a piece is an ensemble's number."""
    return Claims(store / NAME, strict=False)


@contextmanager
def claimed(world: World, ensembles: Sequence[Ensemble], store: Path) -> Iterator[None]:
    """Makes this run the only one that samples some ensembles, until it is done with them.

    Raises:
        UserError: another process samples one of them, and none is claimed; or the folder cannot be written.
    """
    world.on_root(lambda: _claim(ensembles, store))
    try:
        yield
    finally:
        if world.is_root:
            release(ensembles, store)


def claim_free(ensembles: Sequence[Ensemble], store: Path) -> list[bool]:
    """Claims those ensembles that no other process has; whether each is claimed. One rank calls this."""
    store.mkdir(parents=True, exist_ok=True)
    claims = claims_of(store)
    return [claims.take(ensemble.number) for ensemble in ensembles]


def release(ensembles: Sequence[Ensemble], store: Path) -> None:
    """Gives claims back."""
    claims = claims_of(store)
    for ensemble in ensembles:
        claims.drop(ensemble.number)


def _claim(ensembles: Sequence[Ensemble], store: Path) -> None:
    try:
        free = claim_free(ensembles, store)
    except OSError as error:
        raise UserError(f"cannot write {store}: {error.strerror}") from None
    if all(free):
        return
    release([ensemble for ensemble, ours in zip(ensembles, free, strict=True) if ours], store)
    others = [f"{ensemble.gamma:g}" for ensemble, ours in zip(ensembles, free, strict=True) if not ours]
    raise UserError(
        f"gamma {', '.join(others[:5])}{' ...' * (len(others) > 5)} of {store} is being sampled by another lj-vae; "
        "wait until that has ended, or choose another output folder with -o"
    )
