"""The part of sampler.py on how far to move: autocorrelation times against the step, long moves and the acceptance."""

import time

import numpy as np
from arviz_stats.base import array_stats

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.pilot import observe, tuned_step
from lj_vae_hpc.sampling.streams import stream


def steps() -> None:
    """Autocorrelation time of U against the step and its acceptance: which acceptance the pilot should aim at."""
    system, every, records, count = System(), 20, 800, 64
    for gamma in (0.1, 0.4, 1.0, 3.0):
        found = []
        for step in (0.2, 0.3, 0.4, 0.6, 0.9, 1.4, 2.0, 3.0):
            chains = Chains(stream("3"), system, gamma, step, np.arange(count))
            chains.run(4000)
            accepted, series = 0, np.empty((count, records))
            for k in range(records):
                accepted += chains.run(every).sum()
                series[:, k] = chains.energy
            tau = every * series.size / array_stats.ess(series, chain_axis=0, draw_axis=1, method="mean")
            found.append(f"{step:g}: {tau:.0f} ({accepted / (count * system.n_particles * every * records):.2f})")
        print(f"gamma {gamma:g}, step: tau of U in sweeps (acceptance)  {', '.join(found)}")


def moves() -> None:
    """Independent configurations per second with long moves and other targets of the acceptance, against neither.

    τ is the largest of U, Σy and the number of close pairs.
    """
    every, records, count, parts = 16, 800, 192, 6
    tried = ((0.2, 0), (0.2, 2), (0.2, 4), (0.2, 8), (0.3, 4))
    for gamma in (0.1, 0.4, 0.7, 1.0, 2.0, 3.0, 5.0):
        usual = 0.0
        for acceptance, long_every in tried:
            sampling = Sampling(target_acceptance=acceptance, long_every=long_every)
            step = tuned_step(Ensemble(1, System(), gamma, sampling))
            chains = Chains(stream("4"), System(), gamma, step, np.arange(count), long_every=long_every)
            chains.run(3000)
            series, seconds = np.empty((3, count, records)), np.empty(records)
            for k in range(records):
                started = time.perf_counter()
                chains.run(every)
                seconds[k] = time.perf_counter() - started
                series[:, :, k] = observe(chains, chains.positions)
            tau = [
                max(every * one.size / array_stats.ess(one, chain_axis=0, draw_axis=1, method="mean") for one in part)
                for part in np.split(series, parts, axis=1)
            ]
            rates = count * every / np.median(seconds) / np.array(tau)
            rate, error = rates.mean(), rates.std(ddof=1) / np.sqrt(parts)
            usual = usual or rate
            print(
                f"gamma {gamma:g}, acceptance {acceptance:g}, long every {long_every}: step {step:.3g}, tau "
                f"{np.mean(tau):.0f} sweeps, {rate:,.0f} ± {error:,.0f} independent configurations/s, "
                f"{rate / usual:.2f} ± {error / usual:.2f}",
                flush=True,
            )
