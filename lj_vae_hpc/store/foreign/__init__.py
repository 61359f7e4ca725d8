"""Configurations from files of any origin, checked; a file per format."""

from lj_vae_hpc.store.foreign.configuration import Configuration
from lj_vae_hpc.store.foreign.files import STDIN, read_configurations

__all__ = ["STDIN", "Configuration", "read_configurations"]
