"""What the tests of training share."""

from collections.abc import Callable

from lj_vae_hpc.run.folder import RunDir

Train = Callable[..., RunDir]
CONSTANT = "training.schedule=constant"
