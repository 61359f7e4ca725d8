"""How well every approach reconstructs: a table of all of them, and how the error falls with latent dimension and λ.

    python benchmarks/approaches.py table [EPOCHS]     every approach on the 40,000 configurations of the reference run
    python benchmarks/approaches.py scan               latent dimensions and λ on 10,000, into docs/reconstruction.svg
    python benchmarks/approaches.py sizes [N ...]      latent dimensions of 10 to 120 particles, on 8,000 each

Everything is trained by `mpirun -n 2 lj-vae train` on the same data and splits and measured on the test split. Runs
stay in runs/approaches, and what was trained is not trained again. The table goes to docs/approaches.md.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.model import recommended_latent_dim
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.representation.encoding import make_encoding
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.accuracy import Accuracy
from lj_vae_hpc.training.accuracy import measure as measure_accuracy
from lj_vae_hpc.training.batches import Configurations, read_rows
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.splits import Splits

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "approaches"
REFERENCE, DEFAULT = ROOT / "configs" / "reference.yaml", ROOT / "configs" / "equilibrated.yaml"
MOST_NUMBERS = 30_000_000  # that principal components are computed from
ACTIVE = 0.01  # variance of a latent mean that counts (Burda, Grosse and Salakhutdinov, arXiv:1509.00519)


@dataclass(frozen=True)
class Quality:
    """What is told of an approach, on the test split.

    Attributes:
        rmse: mean over configurations of the RMSE of the distance matrix, in units of L√2; NaN without one.
        error: of its mean.
        position: mean distance between a particle and its reconstruction, in σ; NaN without positions.
        unexplained: share of the variance of the representation's entries that is lost.
        unexplained_pca: the same by principal components, as many as latent dimensions.
        active: latent dimensions in use.
        kl: in nats, per sample.
        seconds: per epoch, on two ranks.
    """

    rmse: float
    error: float
    position: float
    unexplained: float
    unexplained_pca: float
    active: int
    kl: float
    seconds: float


def data(configurations: int) -> Path:
    """A run folder with data of the reference protocol."""
    run = RUNS / f"data_{configurations}"
    command = [ROOT / "bin/lj-vae", "generate", "-c", REFERENCE, "-o", run]
    subprocess.run([*command, "-s", f"sampling.configurations={configurations}"], check=True)
    return run


def trained(name: str, source: Path, config_file: Path, overrides: tuple[str, ...]) -> tuple[RunDir, RunConfig, float]:
    """Trains, unless that was done: the run, its configuration, and seconds per epoch."""
    run = RunDir(RUNS / name)
    sampling = load(source / "config.yaml").sampling
    asked = ("sampling=" + sampling.model_dump_json(), *overrides)
    words = [word for override in asked for word in ("-s", override)]
    if not run.data.exists():
        shutil.copytree(source / "data", run.data, copy_function=os.link)
    log = run.path / "log"
    if not log.exists() or "done in" not in log.read_text():
        print(f"training {name}", flush=True)
        with log.open("w") as file:
            command = ["mpirun", "--oversubscribe", "-n", "2", ROOT / "bin/lj-vae", "train", "-c", config_file]
            subprocess.run([*command, "-o", run.path, *words], stdout=file, stderr=file, check=True)
    times = [float(t) for t in re.findall(r"([\d.]+) s since start", log.read_text())]
    seconds = statistics.median(np.diff(times)) if len(times) > 9 and times[-1] > 100 else times[-1] / len(times)
    return run, load(run.config), seconds


def measure(run: RunDir, config: RunConfig, seconds: float) -> Quality:
    """The quality of a trained network."""
    network, _ = load_network(World(), run, config)
    with Dataset(run.dataset) as data:
        splits = Splits.of(data.layout, config.training)
        test = read_rows(data, splits.test[:])
        numbers = np.prod(network.encoding.shape) * network.encoding.samples
        train = read_rows(data, splits.training[: int(MOST_NUMBERS // numbers)])
    parts = [measure_block(network, block) for block in blocks(test)]
    x, lost, rmse, position, means, kl = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    variance = np.square(x - x.mean(axis=0)).sum()
    pca = principal_components(network_inputs(network, train), config.model.latent_dim)
    return Quality(
        rmse.mean(), rmse.std() / np.sqrt(len(rmse)), position.mean(), lost.sum() / variance,
        np.square(x - pca.inverse_transform(pca.transform(x))).sum() / variance,
        int((means.var(axis=0) > ACTIVE).sum()), kl.mean(), seconds,
    )  # fmt: skip


def blocks(configurations: Configurations) -> Iterator[Configurations]:
    """Some hundreds at a time."""
    return (configurations.part(slice(s, s + 250)) for s in range(0, len(configurations.gamma), 250))


def network_inputs(network: Network, configurations: Configurations) -> NDArray[np.float32]:
    """Flattened samples."""
    return np.concatenate([network.inputs(block)[0].flatten(1).numpy() for block in blocks(configurations)])


def principal_components(samples: NDArray[np.float32], dimensions: int) -> PCA:
    """As many as there are latent dimensions, or all."""
    return PCA(min(dimensions, samples.shape[1])).fit(samples)


@torch.no_grad()
def measure_block(network: Network, block: Configurations) -> list[NDArray[np.float64]]:
    """Samples, their lost squares, RMSE and position error of each configuration, latent means, KL of each sample."""
    module, (x, condition) = network.module, network.inputs(block)
    mean, log_variance = module.encode(x, condition)
    reconstruction = module.decode(mean, condition)
    lost = (x - reconstruction).square().flatten(1).sum(dim=1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
    rmse = position = torch.full((len(block.gamma),), float("nan"))
    if network.encoding.matrix:
        a, b = network.encoding.matrix(x), network.encoding.matrix(reconstruction)
        rmse = (a - b).square().flatten(1).mean(dim=1).sqrt()
    if module.gives_positions or network.encoding.shape == block.positions.shape[1:]:
        points = module.positions(mean, condition) if module.gives_positions else reconstruction
        offset = points - network.encoding.points(torch.from_numpy(block.positions))
        position = offset.norm(dim=2).mean(dim=1) * 10 * 2**0.5
    return [t.double().numpy() for t in (x.flatten(1), lost, rmse, position, mean, kl)]


def pca_rmse(source: Path, ordering: str, dimensions: int) -> tuple[float, float]:
    """Mean RMSE of the distance matrix (units of L√2) and position error (σ) of PCA of ordered coordinates."""
    keys = (f"representation={{kind: coordinates, ordering: {ordering}}}", "model={}", "objective={}")
    config = load(source / "config.yaml", keys)
    encoding = make_encoding(config.system, config.representation)
    with Dataset(RunDir(source).dataset) as file:
        splits = Splits.of(file.layout, config.training)
        train, test = (
            encoding.encode(torch.from_numpy(read_rows(file, rows[:]).positions))
            for rows in (splits.training, splits.test)
        )
    pca = principal_components(train.flatten(1).numpy(), dimensions)
    found = torch.from_numpy(pca.inverse_transform(pca.transform(test.flatten(1).numpy()))).float().view_as(test)
    assert encoding.matrix is not None
    rmse = [(encoding.matrix(a) - encoding.matrix(b)).square().mean(dim=(1, 2)).sqrt()
            for a, b in zip(test.split(500), found.split(500), strict=True)]  # fmt: skip
    return torch.cat(rmse).mean().item(), (test - found).norm(dim=2).mean().item() * 10 * 2**0.5


HEAD = """# Every approach on the same data

Reconstruction of the test split by every approach that the configuration can name, all with {dimensions} latent
dimensions and {epochs} epochs on the same {rows} configurations of the reference protocol, on two
ranks: `python benchmarks/approaches.py table`.

RMSE: of the distance matrix in units of L√2, mean over configurations ± standard error. Position: mean distance between
a particle and its reconstruction. Lost: share of the variance of the representation's own entries that the
reconstruction lacks, beside what principal components of the same representation, as many as latent dimensions, lack.
Active: latent dimensions whose mean varies by more than 0.01. KL: per sample, which for `local_environment` is a
particle.

| approach | RMSE | position (σ) | lost | lost by PCA | active | KL (nats) | s per epoch |
|---|---|---|---|---|---|---|---|
"""


def table(epochs: int) -> None:
    """Writes docs/approaches.md."""
    source = data(10_000)
    files = [DEFAULT, REFERENCE, *sorted((ROOT / "configs" / "approaches").glob("*.yaml"))]
    lines, dimensions = [], 40
    for file in files:
        name = "default" if file == DEFAULT else file.stem
        q = measure(*trained(f"{name}_{epochs}", source, file, (f"training.epochs={epochs}",)))
        shown = (
            "–" if np.isnan(q.rmse) else f"{q.rmse:.5f} ± {q.error:.5f}",
            "–" if np.isnan(q.position) else f"{q.position:.3f}",
            f"{100 * q.unexplained:.3g} %", f"{100 * q.unexplained_pca:.3g} %",
            str(q.active), f"{q.kl:.1f}", f"{q.seconds:.1f}",
        )  # fmt: skip
        lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
        print(lines[-1], flush=True)
    for ordering in ("y", "origin", "random"):
        rmse, position = pca_rmse(source, ordering, dimensions)
        lines.append(f"| PCA of coordinates, order `{ordering}` | {rmse:.5f} | {position:.3f} | | | {dimensions} | | |")
        print(lines[-1], flush=True)
    head = HEAD.format(dimensions=dimensions, epochs=epochs, rows="40,000")
    (ROOT / "docs" / "approaches.md").write_text(head + "\n".join(lines) + "\n")


DIMENSIONS = {"reference": (2, 8, 40), "default": (2, 4, 8, 16, 32, 40, 48, 64)}
FACTORS = {"reference": (0.01, 1, 100), "default": (0.01, 1, 100)}
SIZES_EPOCHS = "training.epochs=20"
SCAN_EPOCHS = "training.epochs=12"


def scan() -> None:
    """Draws docs/reconstruction.svg."""
    source = data(2500)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, file, marker in (("reference", REFERENCE, "s--"), ("default", DEFAULT, "o-")):
        weight = load(file).objective.kl_weight

        def error(folder: str, key: str, file: Path = file) -> float:
            quality = measure(*trained(folder, source, file, (SCAN_EPOCHS, key)))
            print(f"{folder}: RMSE {quality.rmse:.5f} ± {quality.error:.5f}, {quality.active} active", flush=True)
            return quality.rmse

        values = [error(f"scan_{name}_d{d}", f"model.latent_dim={d}") for d in DIMENSIONS[name]]
        left.plot(DIMENSIONS[name], values, marker, ms=4, label=name)
        values = [error(f"scan_{name}_d40" if f == 1 else f"scan_{name}_x{f:g}", f"objective.kl_weight={f * weight:g}")
                  for f in FACTORS[name]]  # fmt: skip
        right.plot(FACTORS[name], values, marker, ms=4, label=name)
    for ordering, style in (("y", ":"), ("origin", "-.")):
        values = [pca_rmse(source, ordering, d)[0] for d in DIMENSIONS["default"][:-1]]
        left.plot(DIMENSIONS["default"][:-1], values, style, color="grey", label=f"PCA, order {ordering}")
        right.axhline(pca_rmse(source, ordering, 40)[0], ls=style, color="grey", label=f"PCA, order {ordering}")
    left.set(xlabel="latent dimension", ylabel="RMSE of distances (units of L√2)", yscale="log")
    right.set(xlabel="weight of the KL divergence, times its default", xscale="log")
    left.legend(frameon=False)
    figure.savefig(ROOT / "docs" / "reconstruction.svg")


def sizes(particles: list[int]) -> None:
    """Prints position errors at the density of the reference system, by the share of latent dimensions to particles."""
    print("| N | latent dimensions | per particle | position error (σ) | of PCA (σ) |\n|---|---|---|---|---|")
    for n in particles:
        source, side = RUNS / f"sizes_{n}", 10 * (n / 30) ** 0.5
        system = (f"system.n_particles={n}", f"system.box_side={side:.6g}")
        sampling = ("protocol=reference", "step=0.6", "sweeps=1000", "configurations=2000")
        lj_vae("generate", "-o", source, *system, *(f"sampling.{key}" for key in sampling))
        for dimensions in (-(-2 * n // 3), n, recommended_latent_dim(n, "coordinates"), -(-5 * n // 3)):
            run, keys = RUNS / f"sizes_{n}_{dimensions}", (f"model.latent_dim={dimensions}", SIZES_EPOCHS)
            lj_vae("train", "-o", run, "--data", source, *keys)
            lost = accuracy(RunDir(run))
            print(
                f"| {n} | {dimensions} | {dimensions / n:.2f} | {lost.network:.3g} | {lost.components:.3g} |",
                flush=True,
            )


def lj_vae(command: str, *arguments: str | Path) -> None:
    """One command; `key=value` become overrides."""
    words = [w for a in arguments for w in (("-s", a) if isinstance(a, str) and "=" in a else (a,))]
    subprocess.run([ROOT / "bin/lj-vae", command, *words], check=True, stdout=subprocess.DEVNULL)


def accuracy(run: RunDir) -> Accuracy:
    """What a trained network loses of the test split."""
    config = load(run.config)
    network, _ = load_network(World(), run, config)
    with Dataset(run.dataset) as data:
        splits = Splits.of(data.layout, config.training)
        training = read_rows(data, splits.training[: network.rows_for_components])
        return measure_accuracy(network, config, training, read_rows(data, splits.test[:]))


if __name__ == "__main__":
    torch.set_num_threads(2)
    if sys.argv[1:2] == ["table"]:
        table(int(sys.argv[2]) if len(sys.argv) > 2 else 10)
    elif sys.argv[1:] == ["scan"]:
        scan()
    elif sys.argv[1:2] == ["sizes"]:
        sizes([int(n) for n in sys.argv[2:]] or [10, 30, 60, 120])
    else:
        sys.exit(__doc__)
