"""python -m lj_vae_hpc"""

import sys

try:
    from lj_vae_hpc.entry import main
except ModuleNotFoundError as error:
    print(f"lj-vae: error: the Python package {error.name} is missing; run bin/bootstrap first", file=sys.stderr)
    sys.exit(2)

main()
