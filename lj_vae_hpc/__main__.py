"""python -m lj_vae_hpc: joins the ranks, runs one command, and ends all ranks with one status."""

import errno
import gc
import os
import sys
from pathlib import Path

from lj_vae_hpc.errors import COMMAND, Stopped, UserError, out_of_memory
from lj_vae_hpc.parallel.stop import stop_at_once

stop_at_once()  # unless the command watches for signals; before what takes long to load
gc.set_threshold(50_000)  # modules stay: looking through them for cycles again and again takes a tenth of a start

try:
    import click

    from lj_vae_hpc.cli import cli
    from lj_vae_hpc.parallel.world import World
except Stopped:
    os._exit(75)  # nothing was begun
except ModuleNotFoundError as missing:
    if os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(f"lj-vae: error: the Python package {missing.name} is missing; run bin/bootstrap first", file=sys.stderr)
    sys.exit(2)


UNWRITABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR,
    errno.ELOOP,
)  # fmt: skip


def main() -> None:
    """The entry point of `lj-vae`."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch reads it: its idle threads leave the cores to others
    try:
        world = World.connect()
    except Stopped:
        os._exit(75)
    except UserError as error:
        if os.environ.get("SLURM_PROCID", "0") == "0":
            print(f"lj-vae: error: {error}", file=sys.stderr)
        sys.exit(2)
    if not world.is_root:  # rank 0 alone speaks
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115, until the process ends
    try:
        cli.main(prog_name=COMMAND, standalone_mode=False, obj=world)
        sys.stdout.flush()
    except click.ClickException as error:
        if world.is_root:
            error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except Stopped as stopped:
        print(f"lj-vae: stopped: {stopped}; run the same command again to continue", flush=True)
        if not stopped.everywhere:
            world.leave(75, everywhere=False)
        world.finish(75)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            world.fail(error)
        world.fail(UserError(f"cannot write {error.filename or 'a file'}: {error.strerror}"))
    except ModuleNotFoundError as missing:
        world.fail(UserError(f"the Python package {missing.name} is missing; run bin/bootstrap first"))
    except Exception as error:
        world.fail(out_of_memory(error) or error)
    world.finish()


if __name__ == "__main__":
    main()
