"""Time and largest memory of `lj-vae evaluate` for a small and a large data set.

    python benchmarks/evaluation.py [--ranks 2] [--configurations 1000 10000]

For each size it samples 4 values of γ, trains one epoch and evaluates, with the built-in suites. It prints how long the
evaluation takes and the largest resident memory of a rank, and by how much memory grows from the first size to the
last.
"""

import argparse
import tempfile

from commands import lj_vae

QUICK = "-s sampling.protocol=reference -s sampling.sweeps=200 -s training.epochs=1"


def main() -> None:
    """Prints a line per size, and the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--configurations", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the section evaluation")
    chosen = parser.parse_args()
    settings = " ".join(f"-s evaluation.{one}" for one in chosen.set)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in chosen.configurations:
            run = f"{folder}/{count}"
            lj_vae(chosen.ranks, "generate", "-o", run, QUICK, f"-s sampling.configurations={count}")
            lj_vae(chosen.ranks, "train", "-o", run)
            _, seconds, memory = lj_vae(chosen.ranks, "evaluate", "-o", run, settings)
            found.append(memory)
            print(f"4 x {count:,}: {seconds:.0f} s, {memory:.0f} MB per rank at most", flush=True)
    print(f"memory grows by {found[-1] - found[0]:.0f} MB")


if __name__ == "__main__":
    main()
