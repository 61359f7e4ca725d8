"""Runs commands one after the other in one process, which may end by a signal: that is for the tests to notice.

Each line of the standard input is a command as a JSON list; each line of the output is its status and its message.
"""

import contextlib
import io
import json
import sys
import traceback
from collections import deque
from pathlib import Path

import click

from lj_vae_hpc.cli import cli
from lj_vae_hpc.config.load import load
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.sources import checked_configurations
from lj_vae_hpc.parallel.world import World


def status_of(arguments: list[str]) -> tuple[int, str]:
    """As lj_vae_hpc.__main__ would end, and what it would say."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if arguments[0] == "read":  # only what `score` does first, since it takes most of a second
                path, run = map(Path, arguments[1:])
                deque(checked_configurations(path, load(run / "config.yaml"), center=False), maxlen=0)
            else:
                cli.main(arguments, standalone_mode=False, obj=World())
    except (UserError, click.ClickException) as error:
        return 2, str(error)
    except Exception:
        return 1, traceback.format_exc()
    return 0, ""


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(status_of(json.loads(line))), flush=True)
