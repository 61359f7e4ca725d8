"""Makes the further anomalies of docs/detection.md: python -m docs.make_anomalies RUN FOLDER

Each of FOLDER's files holds 2,000 configurations made from the test split of RUN. It prints the command that scores
them, and some other fluids, as suites of RUN.
"""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lj_vae_hpc
from lj_vae_hpc.sampling.pilot import settled_lattice

Positions = NDArray[np.float32]
COUNT = 2000
FLUIDS = {
    "yukawa": "potential: yukawa", "cold": "temperature: 0.5", "mie_18_6": "potential: [18, 6], cutoff: 3.0",
    # chosen before the second version of the default score was tried
    "cool": "gamma: 0.2, temperature: 0.6", "warm": "gamma: 0.8, temperature: 1.0",
    "mie_10_6": "potential: [10, 6], cutoff: 3.0", "short": "gamma: 0.4, cutoff: 1.5",
    "cold_dilute": "gamma: 0.1, temperature: 0.65",
}  # fmt: skip


def turned(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """By 90°."""
    return np.stack([side - r[..., 1], r[..., 0]], axis=-1)


def upside_down(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """Heights from the ceiling."""
    return np.stack([r[..., 0], side - r[..., 1]], axis=-1)


def squeezed(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """In x, to 80 %, about the middle."""
    return np.stack([side / 2 + 0.8 * (r[..., 0] - side / 2), r[..., 1]], axis=-1)


def dimers(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """Every second particle 0.95 σ from its predecessor."""
    moved, angle = r.copy(), random.uniform(0, 2 * np.pi, r[:, 1::2].shape[:2])
    pairs = moved[:, : moved.shape[1] // 2 * 2]
    pairs[:, 1::2] = pairs[:, ::2] + 0.95 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.clip(moved, 0, side)


def crystal(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """A triangular lattice on the floor, displaced by 0.05 σ."""
    return np.clip(settled_lattice(r.shape[1], side) + random.normal(0, 0.05, r.shape), 0, side)


def doubled(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """One particle put on another."""
    moved = r.copy()
    moved[:, 0] = np.clip(r[:, 1] + random.normal(0, 0.05, r[:, 1].shape), 0, side)
    return moved


def exchanged(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """Left and right halves."""
    return np.stack([(r[..., 0] + side / 2) % side, r[..., 1]], axis=-1)


def jittered(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """Every particle, by 0.05 σ."""
    return np.clip(r + random.normal(0, 0.05, r.shape), 0, side)


def lowered(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """Heights at 90 %."""
    return r * np.array([1.0, 0.9])


def sheared(r: Positions, side: float, random: np.random.Generator) -> Positions:
    """The upper half of the particles moved by 2 σ to the right, through the wall."""
    order = np.argsort(np.argsort(r[..., 1], axis=1), axis=1)
    x = np.where(order >= r.shape[1] // 2, (r[..., 0] + 2.0) % side, r[..., 0])
    return np.stack([x, r[..., 1]], axis=-1)


FILES: tuple[Callable[..., Positions], ...] = (
    turned, upside_down, squeezed, dimers, crystal, doubled, exchanged, jittered,
    lowered, sheared,  # chosen with the later fluids
)  # fmt: skip


def main(run: str, folder: str) -> None:
    """Writes the files and prints the command."""
    source = lj_vae_hpc.open_run(run)
    rows = np.random.default_rng(0).permutation(source.split("test"))[:COUNT]
    normal, side = source.positions[np.sort(rows)], source.config.system.box_side
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = []
    for make in FILES:
        path = (Path(folder) / f"{make.__name__}.npy").resolve()
        np.save(path, make(normal, side, np.random.default_rng(1)).astype(np.float32))
        files.append(f"{make.__name__}: {path}")
    fluids = ", ".join(f"{name}: {{{facts}}}" for name, facts in FLUIDS.items())
    settings = f"evaluation.files={{{', '.join(files)}}}", f"evaluation.fluids={{{fluids}}}"
    print(shlex.join(["bin/lj-vae", "evaluate", "-o", run, *(word for one in settings for word in ("-s", one))]))


if __name__ == "__main__":
    main(*sys.argv[1:])
