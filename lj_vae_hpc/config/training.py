"""The section `training`: how the network is trained."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool

from lj_vae_hpc.config.base import Count, Epochs, NotNegative, Positive, Section, between


class Training(Section):
    """How the network is trained."""

    FREE: ClassVar = frozenset({"epochs", "device", "precision", "checkpoint_minutes"})
    """Keys that may change while a network is trained."""

    epochs: Annotated[Count, between(1, 1_000_000, "no training is that long")] = 20
    """Passes over the training split."""
    batch_size: Annotated[Count, between(1, 1 << 20, "a batch is held in memory")] = 256
    """Configurations per optimizer step, all ranks together."""
    learning_rate: Annotated[Positive, between(1e-12, 1e6, "weights are in single precision")] = 1e-3
    """Step size of AdamW."""
    weight_decay: Annotated[NotNegative, between(0, 1e4, "every weight would vanish")] = 0.01
    """Decoupled weight decay of AdamW (Loshchilov and Hutter, ICLR 2019); 0 is Adam."""
    warmup_epochs: Epochs = 1.0
    """Epochs over which the learning rate grows linearly from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The learning rate afterwards: constant, or falling to 0 at the last epoch as a half cosine."""
    mirror: StrictBool = True
    """Reflects each configuration at x = L/2 with probability 1/2 each time, an exact symmetry of the fluid."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the data that chooses the best epoch and calibrates each score."""
    calibration_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the data that p-values of the combined score are read off."""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the data kept for the evaluation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where every local rank has one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto takes bf16 where the hardware multiplies it."""
    checkpoint_minutes: Annotated[Positive, between(1e-12, 1e6, "no job is that long")] = 1.0
    """Minutes from one checkpoint to the next within an epoch, looked at every 20 steps; each epoch ends with one."""
