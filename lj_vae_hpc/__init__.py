"""Sampling, learning and anomaly detection of two-dimensional particle configurations on HPC clusters."""

__version__ = "0.1.0"
