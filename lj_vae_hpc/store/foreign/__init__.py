"""Configurations from files of any origin, checked; a file per format."""

from lj_vae_hpc.store.foreign.configuration import Configuration, find_problem
from lj_vae_hpc.store.foreign.files import read_configurations

__all__ = ["Configuration", "find_problem", "read_configurations"]
