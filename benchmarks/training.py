"""Training of the reference network: its speed against plain PyTorch, what is spent beside it, ranks, and memory.

    python benchmarks/training.py [reference] [overhead] [ranks] [memory] [gpu]      all of them by default

`reference` and `ranks` measure what is compared in turns, so that both see the same machine; medians are printed.
Everything runs the commands of `lj-vae` as a user would.
"""

import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import product
from multiprocessing.connection import Connection
from typing import Any

from commands import ROOT, lj_vae

BATCH, TURN, ROUNDS = 128, 3, 9
OPERATIONS = 6 * (900 * 9 * (60 + 60 * 50 + 50 * 50 + 50 * 60 + 60) + 45_000 * 120)  # a configuration's, both ways


def data_set(folder: str, configurations: int) -> list[str]:
    """Makes one of 4 x so many configurations by the reference protocol, cut short; the arguments that train on it."""
    reference = ["-c", f"{ROOT}/configs/reference.yaml"]
    few = ["-s", "sampling.sweeps=20", "-s", f"sampling.configurations={configurations}"]
    lj_vae(1, "generate", "-o", folder, *reference, *few)
    return ["-o", f"{folder}/model", "--data", folder, *reference, "-s", "training.epochs=1"]


def command(arguments: list[str]) -> None:
    """`lj-vae train` in this process."""
    from lj_vae_hpc.__main__ import main

    sys.argv = ["lj-vae", "train", *arguments]
    main()


def ours(link: Connection, arguments: list[str]) -> None:
    """Trains as many steps as it is told, and answers with the seconds they took."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command itself
    from lj_vae_hpc.stages import train

    class Turns(train.Progress):
        left, started = 0, 0.0

        def advance(self, amount: float) -> None:
            self.left -= 1
            if self.left <= 0:
                link.send(time.perf_counter() - self.started)
                self.left, self.started = link.recv(), time.perf_counter()

    train.Progress = Turns
    command(arguments)


def plain(link: Connection, folder: str) -> None:
    """The same network and loss in PyTorch as it is usually written, with all distance matrices in memory."""
    import h5py
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    with h5py.File(f"{folder}/data/dataset.h5") as file:
        positions = torch.from_numpy(file["positions"][:])
    order = positions.square().sum(-1).argsort(1)
    positions = positions.gather(1, order[..., None].expand(-1, -1, 2)) / (10 * 2**0.5)
    matrices = (positions[:, :, None] - positions[:, None]).square().sum(-1).sqrt()[:, None]
    loader = DataLoader(TensorDataset(matrices), batch_size=BATCH, shuffle=True)
    encoder = nn.Sequential(
        nn.Conv2d(1, 60, 3, padding=1), nn.ReLU(), nn.Conv2d(60, 50, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(45_000, 80),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(40, 45_000), nn.ReLU(), nn.Unflatten(1, (50, 30, 30)),
        nn.ConvTranspose2d(50, 50, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(50, 60, 3, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(60, 1, 3, padding=1), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    left, started = 0, 0.0
    while True:
        for (x,) in loader:
            mean, log_variance = encoder(x).chunk(2, dim=1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
            loss = nn.functional.mse_loss(decoder(z), x) + 3.5e-4 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            left -= 1
            if left <= 0:
                link.send(time.perf_counter() - started)
                left, started = link.recv(), time.perf_counter()


def reference() -> None:
    """Samples per second of the command against the plain loop, each in a process of its own, on the same cores."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        arguments = data_set(folder, 40 + TURN * BATCH * (ROUNDS + 1) // 3)  # an epoch lasts for all turns
        links = []
        for target, what in ((ours, arguments), (plain, folder)):
            link, end = spawn.Pipe()
            spawn.Process(target=target, args=(end, what), daemon=True).start()
            end.close()  # so that the end of the process is noticed
            link.recv()  # the first step compiles and fills caches
            links.append(link)
        seconds: list[list[float]] = [[], []]
        for _ in range(ROUNDS + 1):
            for link, times in zip(links, seconds, strict=True):
                link.send(TURN)
                times.append(link.recv())
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
    ratios = [b / a for a, b in zip(*(times[1:] for times in seconds), strict=True)]
    rates = [TURN * BATCH / statistics.median(times[1:]) for times in seconds]
    print(
        f"{rates[0]:.0f} samples/s, plain PyTorch {rates[1]:.0f} on {os.cpu_count()} cores: "
        f"{statistics.median(ratios):.2f} times (from {min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds)"
    )


class Clock:
    """Seconds of each part of a program, without those of the parts inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside, self._last = ["start"], time.perf_counter()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self._inside[-1]] += now - self._last
        self._last = now

    def time(self, owner: Any, name: str, part: str) -> None:
        """Replaces a function by one that counts its time; of an iterator it counts each step."""
        function: Callable[..., Any] = getattr(owner, name)

        def counted(action: Callable[[], Any]) -> Any:
            self._turn()
            self._inside.append(part)
            try:
                return action()
            finally:
                self._turn()
                self._inside.pop()

        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            found = counted(lambda: function(*arguments, **keywords))
            return steps(found) if isinstance(found, Iterator) else found

        def steps(iterator: Iterator[Any]) -> Iterator[Any]:
            end = object()
            while (item := counted(lambda: next(iterator, end))) is not end:
                yield item

        setattr(owner, name, call)


def parts(arguments: list[str]) -> None:
    """Trains and prints where the time went."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from lj_vae_hpc.model.vae import VAE
    from lj_vae_hpc.stages import train
    from lj_vae_hpc.training import checkpoint, loop
    from lj_vae_hpc.training.batches import Batches
    from lj_vae_hpc.training.network import Network
    from lj_vae_hpc.training.objective import Criterion

    clock = Clock()
    for owner, name, part in (
        (loop.Trainer, "fit", "metrics, logging and the rest"),
        (loop.Trainer, "_random", "noise"),
        (Criterion, "__call__", "network"),
        (VAE, "forward", "network"),
        (torch.Tensor, "backward", "network"),
        (torch.optim.AdamW, "step", "network"),
        (Batches, "epoch", "shuffling"),
        (train.Dataset, "read", "reading"),
        (Network, "inputs", "distance matrices"),
        (checkpoint, "save", "checkpoints"),
        (train.Curves, "report", "metrics, logging and the rest"),
    ):
        clock.time(owner, name, part)
    command(arguments)
    del clock.seconds["start"]
    total = clock.seconds.total()
    beside = 100 * (1 - clock.seconds["network"] / total)
    print(
        f"{beside:.2f} % of {total:.0f} s beside forward, backward and optimizer step: "
        + ", ".join(f"{part} {100 * s / total:.2f} %" for part, s in clock.seconds.most_common() if part != "network")
    )


def overhead() -> None:
    """What an epoch of the reference run spends on anything else than the network."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=parts, args=(data_set(folder, 10_000),))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


def rate(processes: int, arguments: list[str], *more: str) -> float:
    """Samples per second of a whole `lj-vae train`, started anew."""
    with tempfile.TemporaryDirectory() as folder:
        output, _, _ = lj_vae(processes, "train", *arguments, "-o", folder, *more)
    number, unit = re.findall(r"training: 100 %, ([\d.]+)([kM]?) configurations/s", output)[-1]
    return float(number) * {"": 1, "k": 1e3, "M": 1e6}[unit]


def ranks() -> None:
    """Two ranks of one thread against one rank of two."""
    os.environ.update(OMPI_MCA_hwloc_base_binding_policy="none")  # mpirun would give a single rank one core
    with tempfile.TemporaryDirectory() as folder:
        arguments = data_set(folder, 1000)
        found = [[rate(n, arguments) for n in (1, 2)] for _ in range(3)]
    one, two = map(statistics.median, zip(*found, strict=True))
    ratio = statistics.median(b / a for a, b in found)
    print(f"2 ranks x 1 thread {two:.0f} samples/s, 1 rank x 2 threads {one:.0f}: {ratio:.2f} times")


def memory() -> None:
    """Largest resident memory of a training rank against the size of the data set."""
    for configurations in (10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            arguments = data_set(folder, configurations)
            _, _, megabytes = lj_vae(1, "train", *arguments, "-s model.channels=[2,2]", "-s model.latent_dim=2")
        print(f"{4 * configurations} configurations: {megabytes:.0f} MB resident at most, with a tiny network")


def gpu() -> None:
    """Samples per second on a GPU and the share of what its matrix products reach."""
    import torch

    if not torch.cuda.is_available():
        print("no GPU here")
        return
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seconds = []
    for _ in range(10):
        torch.cuda.synchronize()
        started = time.perf_counter()
        a @ a
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = 2 * len(a) ** 3 / min(seconds)
    with tempfile.TemporaryDirectory() as folder:
        arguments = data_set(folder, 100_000)
        for precision, batch in product(("fp32", "bf16"), (BATCH, 2048)):
            keys = [f"training.precision={precision}", f"training.batch_size={batch}", "training.device=cuda"]
            found = rate(1, arguments, *(f"-s {key}" for key in keys))
            print(
                f"{torch.cuda.get_device_name()}, {precision}, batch {batch}: {found:.0f} samples/s, "
                f"{100 * found * OPERATIONS / peak:.1f} % of the {peak / 1e12:.0f} TFLOP/s of a large matrix product "
                "in bf16"
            )


if __name__ == "__main__":
    everything = {"reference": reference, "overhead": overhead, "ranks": ranks, "memory": memory, "gpu": gpu}
    chosen = sys.argv[1:] or list(everything)
    if unknown := set(chosen) - set(everything):
        sys.exit(f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(everything)}")
    for name in chosen:
        everything[name]()
