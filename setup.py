"""Packaging: `pip install .` gives the `lj-vae` command. Versions are pinned in bin/requirements for bin/bootstrap."""

import re
from pathlib import Path

from setuptools import find_packages, setup

INIT = (Path(__file__).parent / "lj_vae_hpc" / "__init__.py").read_text(encoding="utf-8")

setup(
    name="lj_vae_hpc",
    version=re.findall(r'__version__ = "(.+)"', INIT)[0],
    description="Sampling, learning and anomaly detection of particle configurations on HPC clusters",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["lj_vae_hpc", "lj_vae_hpc.*"]),
    package_data={"lj_vae_hpc": ["py.typed"], "lj_vae_hpc.report": ["assets/*"]},
    python_requires=">=3.11",
    install_requires=[
        "bokeh>=3.6", "click>=8.1", "extxyz>=0.4.2", "gsd>=5", "h5py>=3.10", "jinja2>=3.1",
        "markupsafe>=2.1", "matplotlib>=3.8", "mpi4py>=4", "numba>=0.60", "numpy>=2", "optuna>=5", "pyarrow>=17",
        "pydantic>=2.7", "pymbar>=4.0.3", "pyyaml>=6", "safetensors>=0.4", "scikit-learn>=1.4", "scipy>=1.12",
        "tensorboard>=2.16", "torch>=2.4", "tqdm>=4.66",
    ],
    entry_points={"console_scripts": ["lj-vae = lj_vae_hpc.__main__:main"]},
)  # fmt: skip
