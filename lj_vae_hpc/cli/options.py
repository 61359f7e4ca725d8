"""Options that several commands take, and the run folder that they name."""

import math
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class FileName(click.Path):
    """A path that fits in one line of a message or a table, and that a file system can hold."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            BadParameter: it is empty, too long, or has a line feed or another control character.
        """
        text = os.fsdecode(value)
        if not text:
            self.fail("the path is empty", param, ctx)
        if any(unicodedata.category(character) == "Cc" for character in text):
            self.fail(f"{text!r:.200}: names with line feeds or control characters are not accepted")
        longest = max(len(os.fsencode(part)) for part in text.split("/"))
        # 255 and 4096 are allowed; something is appended while a file is written.
        if longest > 240 or len(os.fsencode(text)) > 3900:
            self.fail(f"{text[:60]}... is too long for a path", param, ctx)
        return super().convert(value, param, ctx)


def _whole(_: click.Context, __: click.Parameter, overrides: tuple[str, ...]) -> tuple[str, ...]:
    for override in overrides:
        if any(override.count(opening) > override.count(closing) for opening, closing in ("[]", "{}")):
            raise click.BadParameter(
                f"{override!r:.60} ends inside brackets; quote what has blanks: -s 'KEY=[0.1, 0.4]'"
            )
    return overrides


def options_with(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the three options that every command takes.

    Args:
        default: what the configuration is where none is given.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option(
            "-s", "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", callback=_whole,
            help="Changes one key; repeatable.",
        )(command)  # fmt: skip
        command = click.option(
            "-o", "--output", type=FileName(), envvar="LJ_VAE_OUTPUT", show_envvar=True, metavar="RUN_DIR",
            help="Folder of the run.  [default: runs/NAME-OF-CONFIG; LJ_VAE_RUNS may name another folder than runs]",
        )(command)  # fmt: skip
        return click.option(
            "-c", "--config", "config_file", type=FileName(), envvar="LJ_VAE_CONFIG", show_envvar=True,
            metavar="FILE.yaml", help=f"Configuration.  [default: {default}]",
        )(command)  # fmt: skip

    return add


options = options_with("the one in RUN_DIR, else the built-in defaults")


def _limit(context: click.Context, _: click.Parameter, hours: float | None) -> None:
    if hours is not None and not 0 < hours < math.inf:
        raise click.BadParameter(f"{hours:g} is not a positive number of hours.")
    if hours is not None:
        context.obj.stop.limit_hours(hours)


max_hours = click.option(
    "--max-hours", type=float, envvar="LJ_VAE_MAX_HOURS", metavar="H", callback=_limit, expose_value=False,
    show_envvar=True, help="Time limit in hours, such as the job's. The command saves and stops with status 75 before "
    "a piece of work (a segment, 20 training steps, a suite) that would not end in time if it took as long as the "
    "last. Up to a minute is kept free.",
)  # fmt: skip

other_data = click.option(
    "--data", type=FileName(), metavar="OTHER_RUN_DIR",
    help="Uses the data set of another run, which is only read. Later commands on RUN_DIR remember it.",
)  # fmt: skip

force = click.option("--force", is_flag=True, help="Replaces the file of --to if it exists.")
center = click.option(
    "--center", is_flag=True, help="Coordinates lie in [-L/2, L/2], as those of GSD do without being told."
)


def run_path(output: Path | None, config_file: Path | None) -> Path:
    """The run folder: as given, else named after the configuration in LJ_VAE_RUNS or runs/."""
    return output or Path(os.environ.get("LJ_VAE_RUNS", "runs")) / (config_file.stem if config_file else "equilibrated")
