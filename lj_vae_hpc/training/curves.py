"""What training shows of itself."""

import json
import time
from pathlib import Path
from typing import Self

from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.run.files import write_text


def write_metrics(path: Path, history: list[dict[str, float]]) -> None:
    """One line of JSON per epoch."""
    write_text(path, "".join(json.dumps(metrics) + "\n" for metrics in history))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The metrics of every epoch; none where there is no such file yet.

    Raises:
        UserError: it is damaged.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error!r:.80}); `{COMMAND} train -o {path.parent}` writes it again from the checkpoint"
        ) from None


class Curves:
    """metrics.jsonl, TensorBoard and a line per epoch; rank 0 gives a history, the others None."""

    def __init__(self, metrics: Path, tensorboard: Path, history: list[dict[str, float]] | None) -> None:
        self._metrics, self._started = metrics, time.monotonic()
        self._writer = None
        if history:  # a kill may have come after the checkpoint and before this file
            write_metrics(metrics, history)
        if history is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(tensorboard, purge_step=len(history) + 1)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()  # type: ignore[no-untyped-call]

    def report(self, history: list[dict[str, float]]) -> None:
        """Writes the metrics of all epochs so far, and shows the last."""
        last = history[-1]
        write_metrics(self._metrics, history)
        if self._writer:
            for name, value in last.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, int(last["epoch"]))  # type: ignore[no-untyped-call]
            self._writer.flush()  # type: ignore[no-untyped-call]
        seconds = time.monotonic() - self._started
        print(
            f"epoch {last['epoch']:g}: MSE {last['mse']:.3g}, KL {last['kl']:.1f} nats, validation MSE "
            f"{last['validation_mse']:.3g}, {seconds:.0f} s since start",
            flush=True,
        )
