"""python -m lj_vae_hpc"""

from lj_vae_hpc.cli import main

main()
