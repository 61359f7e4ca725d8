"""What changes in the course of training."""

import math

from lj_vae_hpc.config.training import Training


def warm_up(epochs: float, warmup_epochs: float) -> float:
    """Factor that grows linearly from 0 to 1 over the first epochs, after a time in epochs."""
    return min(1.0, epochs / warmup_epochs) if warmup_epochs > 0 else 1.0


def learning_rate(epochs: float, training: Training) -> float:
    """Step size of the optimizer after a time in epochs (cosine: Loshchilov and Hutter, arXiv:1608.03983)."""
    fall = 1.0
    if training.schedule == "cosine":
        fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, epochs / training.epochs)))
    return training.learning_rate * fall * warm_up(epochs, training.warmup_epochs)
