"""The commands that make a run: its stages, alone and in one go, the search, and the check of the machine."""

from importlib import import_module
from pathlib import Path

import click

from lj_vae_hpc.cli.options import max_hours, options, other_data, run_path
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.folder import RunDir, open_run
from lj_vae_hpc.run.refused import unchanged_if_refused
from lj_vae_hpc.stages import call


def pipeline_command(*stages: str, name: str, text: str, examples: str) -> click.Command:
    """A command that runs one or more stages on a run folder."""

    def command(config_file: Path | None, output: Path | None, overrides: tuple[str, ...], **data: Path | None) -> None:
        world, path = click.get_current_context().obj, run_path(output, config_file)
        with unchanged_if_refused(world, path):
            run_stages(world, path, config_file, overrides, data.get("data"))

    def run_stages(
        world: World, path: Path, config_file: Path | None, overrides: tuple[str, ...], data: Path | None
    ) -> None:
        if stages != ("generate",):
            world.on_root(lambda: refuse_campaign(path))
        if data and not RunDir(path).data.exists() and RunDir(path).has_model:
            find_moved_data = import_module("lj_vae_hpc.training.setup").find_moved_data  # late: it loads torch
            world.on_root(lambda: find_moved_data(RunDir(path), RunDir(data)))
        run, config = open_run(
            world, path, config_file, overrides, data=data, needs_data="generate" not in stages
        )  # fmt: skip
        if stages != ("report",):
            world.stop.watch_signals()
        if len(stages) > 1:  # before anything is sampled
            check = import_module("lj_vae_hpc.evaluation.checks").check_run
            world.on_root(lambda: check(run, config, (world.size, world.local_size)))
        for stage in stages:
            if stage != "generate" or not run.data_owner or len(stages) == 1:
                call(stage, world, run, config)

    wrapped = options(max_hours(command))  # --max-hours of report too, so that a job may hand its arguments to all
    if stages != ("generate",):
        wrapped = other_data(wrapped)
    return click.command(name, help=text, epilog=f"\b\nExamples:\n{examples}")(wrapped)


def refuse_campaign(path: Path) -> None:
    """Raises UserError: the models of the folder are those of a campaign, and have folders of their own."""
    if RunDir(path).is_campaign:
        raise UserError(
            f"{path} is a campaign: `{COMMAND} scan run -o {path}` trains and evaluates its models, each in "
            f"a folder of {path / 'models'}; another model on its data needs another folder: -o OTHER --data {path}"
        )


generate = pipeline_command(
    "generate", name="generate", text="Samples the data set into RUN_DIR/data, or what is missing of it.",
    examples="  mpirun -n 8 lj-vae generate -c configs/equilibrated.yaml\n"
    "  lj-vae generate -o runs/dense -s system.n_particles=60\n"
    "  lj-vae generate -o runs/scan -s sampling.configurations=20000       more of each γ",
)  # fmt: skip
train = pipeline_command(
    "train", name="train", text="Trains the auto-encoder on RUN_DIR/data.",
    examples="  mpirun -n 8 lj-vae train -o runs/equilibrated\n"
    "  lj-vae train -c configs/approaches/beta.yaml -o runs/beta --data runs/equilibrated",
)  # fmt: skip
evaluate = pipeline_command(
    "evaluate", name="evaluate", text="Scores the test split and every anomaly suite.",
    examples="  mpirun -n 8 lj-vae evaluate -o runs/equilibrated\n"
    "  lj-vae evaluate -o runs/quick -s evaluation.files={mine: mine.xyz}       configurations of your own as a suite",
)  # fmt: skip
report = pipeline_command(
    "report", name="report", text="Writes the page RUN_DIR/report/index.html.",
    examples="  lj-vae report -o runs/equilibrated",
)  # fmt: skip
run = pipeline_command(
    "generate", "train", "evaluate", "report", name="run", text="Runs generate, train, evaluate and report in one go.",
    examples="  mpirun -n 2 lj-vae run -c configs/quick.yaml\n"
    "  lj-vae run -c runs/quick/config.yaml -s model.width=1024 -o runs/wide --data runs/quick      the same, wider",
)  # fmt: skip


@click.command(
    epilog="\b\nExamples:\n  mpirun -n 8 lj-vae tune -o runs/equilibrated\n"
    "  lj-vae tune -o runs/quick -s tuning.trials=20 -s tuning.epochs=4\n"
    "  lj-vae tune -o runs/quick -s tuning.space.model.width=[64,256]\n"
    "  lj-vae train -c runs/equilibrated/tuning/best.yaml -o runs/best --data runs/equilibrated"
)
@options
@max_hours
@other_data
@click.pass_obj
def tune(
    world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...], data: Path | None
) -> None:
    """Searches hyperparameters on RUN_DIR/data with Optuna.

    Every rank trains whole trials by itself, and several jobs may work on the same RUN_DIR. The search minimises the
    description length of the validation split in nats: pairs/2 log(2 pi e MSE) + KL, which contains no weight and so
    compares any lambda and any latent dimension. RUN_DIR/tuning then holds best.yaml and the figures.
    """
    world.stop.watch_signals()
    call("tune", world, RunDir(run_path(output, config_file)), config_file, overrides, data)


@click.command(epilog="\b\nExamples:\n  lj-vae doctor\n  mpirun -n 2 lj-vae doctor -o /scratch/runs/test")
@options
@click.pass_obj
def doctor(world: World, config_file: Path | None, output: Path | None, overrides: tuple[str, ...]) -> None:
    """Checks that this machine can do every stage, and says what is missing.

    It looks at MPI, parallel HDF5, the compiler, torch, the network, Slurm and the output folder.
    """
    path = run_path(output, config_file)
    stored = RunDir(path).config
    config = world.on_root(lambda: load(config_file or (stored if stored.exists() else None), overrides))
    call("doctor", world, path, config)
