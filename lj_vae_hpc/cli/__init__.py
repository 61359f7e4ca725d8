"""The command line: arguments to one command, whose module is loaded when it runs."""

import click

from lj_vae_hpc import __version__
from lj_vae_hpc.cli import campaign, data, pipeline, results
from lj_vae_hpc.errors import COMMAND

EXAMPLES = """
\b
Examples:
  lj-vae doctor                                     is everything here?
  lj-vae run -c configs/quick.yaml                  everything, small
  mpirun -n 64 lj-vae generate -c configs/scan.yaml -o runs/scan
  mpirun -n 64 lj-vae train -o runs/scan            with the folder's own configuration
  lj-vae train -c mine.yaml -o runs/mine --data runs/scan      another model on the same data
  lj-vae inspect -o runs/scan

\b
Exit status: 0 done, 2 bad configuration or input, 75 stopped early (run the same
command again to continue), anything else is a fault.
"""


class AsAdded(click.Group):
    """Lists its commands in the order in which they are added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return list(self.commands)


@click.group(
    cls=AsAdded, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 120}
)
@click.version_option(__version__, prog_name="lj-vae")
def cli() -> None:
    """Samples Lennard-Jones configurations, trains a variational auto-encoder on them and evaluates anomaly detection.

    Every command runs alone, under `mpirun -n R` or under `srun --mpi=pmix`. A command that was stopped continues when
    it is called again.
    """


@click.group(cls=AsAdded, epilog="""
\b
Examples:
  lj-vae scan plan -c configs/scan.yaml                               what it would take
  lj-vae scan submit -c configs/scan.yaml -o runs/scan -- --ntasks=64 --time=02:00:00
  mpirun -n 8 lj-vae scan run -c configs/scan.yaml -o runs/scan       the same without Slurm
  lj-vae scan status -o runs/scan
  lj-vae scan collect -o runs/scan
""")  # fmt: skip
def scan() -> None:
    """Many ensembles and models in one folder: a campaign, alone or as Slurm jobs.

    The ensembles are those of `sampling.gammas`, the models those of the section `scan`. A campaign may grow: only what
    is new is computed.
    """


for command in (
    pipeline.doctor, pipeline.generate, data.import_files, pipeline.tune, pipeline.train, pipeline.evaluate,
    pipeline.report, pipeline.run, results.compare, results.score, data.inspect, data.verify, data.export,
):  # fmt: skip
    cli.add_command(command)
cli.add_command(scan)
for command in (campaign.plan, campaign.submit, campaign.status, campaign.collect, campaign.run):
    scan.add_command(command)
for command in (cli, *cli.commands.values(), *scan.commands.values()):
    command.epilog = (command.epilog or "").replace("lj-vae ", f"{COMMAND} ")
