"""Files of any origin, read one configuration at a time.

Only regular files and the standard input are opened, nothing in them is executed, and no size that they declare is
believed before the bytes are there.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import check_regular
from lj_vae_hpc.store.foreign.configuration import ACCEPTED, Configuration, find_problem
from lj_vae_hpc.store.foreign.gsd import read_gsd
from lj_vae_hpc.store.foreign.hdf5 import read_hdf5
from lj_vae_hpc.store.foreign.npy import read_npy, read_npz
from lj_vae_hpc.store.foreign.text import LONGEST_LINE, lines_of, read_text
from lj_vae_hpc.store.foreign.xyz import read_extxyz

STDIN = Path("-")
HEAD = 1 << 16  # bytes that tell what a file is


class Format(NamedTuple):
    """A format.

    Attributes:
        title: for messages.
        magic: how its files begin, whatever they are called; empty if that does not tell.
        read: from the path of a file, or the lines of a text; the path for messages; and L in σ.
    """

    title: str
    magic: bytes
    read: Callable[[Any, Path, float], Iterator[Configuration]]


FORMATS = {
    ".h5": Format("HDF5", b"\x89HDF\r\n\x1a\n", read_hdf5),
    ".npz": Format("a NumPy archive", b"PK", read_npz),
    ".npy": Format("a NumPy array", b"\x93NUMPY", read_npy),
    ".gsd": Format("GSD", b"\xdf\x65\xdf\x65\xdf\x65\xdf\x65", read_gsd),
    ".xyz": Format("extended XYZ", b"", read_extxyz),
    "": Format("text", b"", read_text),
}
"""By the suffix of their files."""


def read_configurations(path: Path, n_particles: int, box_side: float, center: bool = False) -> Iterator[Configuration]:
    """Reads a file one configuration at a time; its first bytes, and else its suffix, say what it is.

    All are of N particles in a box of side L with the origin in a corner. Text holds a configuration per line, x1 y1 x2
    y2 ... in σ, separated by blanks or commas; lines that begin with # are comments. A NumPy archive or an HDF5 file
    holds `positions`, (n, N, 2) or (n, 2N), and maybe `gamma` and `box_side`, (n,) or one number; a NumPy array is the
    positions. Frames of extended XYZ may have a `gamma` and a lattice. GSD has its box centred on the origin, and maybe
    log/gamma; its origin is moved to the corner.

    Args:
        path: the file; `-` is the standard input.
        n_particles: N.
        box_side: L, in σ.
        center: whether coordinates lie in [-L/2, L/2] and are moved to [0, L].

    Raises:
        UserError: a missing, damaged or empty file, one of another kind, or one that holds a configuration of another
            system, with the row.
    """
    row, kind = 0, "a file of configurations"
    try:
        with _opened(path) as (file, suffix):
            kind = FORMATS[suffix].title
            for configuration in FORMATS[suffix].read(file, path, box_side):
                row += 1
                shift = 0.0 if configuration.in_corner or not center else box_side / 2
                if shift:
                    configuration = configuration._replace(positions=configuration.positions + shift)
                if problem := find_problem(configuration, n_particles, box_side):
                    raise UserError(f"{path}, {configuration.place}: {problem}")
                yield configuration
    except UserError:
        raise
    except Exception as error:  # the libraries raise anything where a file is damaged
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise UserError(f"{path}, row {row}: not {kind}, or damaged: {reason:.300}") from None
    if not row:
        raise UserError(f"{path} holds no configuration; {ACCEPTED}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """What a reader of FORMATS takes, and the suffix that it belongs to."""
    if path == STDIN:
        stream = sys.stdin.buffer
        head = stream.read(HEAD)
        suffix = _kind(path, head)
        if suffix == "":
            yield chain(BytesIO(head + stream.readline(LONGEST_LINE)), lines_of(stream)), suffix
            return
        with tempfile.TemporaryDirectory(prefix="lj-vae-stdin-") as scratch:  # the libraries want a file
            copy = Path(scratch) / f"stdin{suffix}"
            with copy.open("wb") as file:
                file.write(head)
                shutil.copyfileobj(stream, file)
            yield copy, suffix
        return
    check_regular(path)
    with path.open("rb") as file:
        suffix = _kind(path, file.read(HEAD))
        file.seek(0)
        yield (path if suffix else lines_of(file)), suffix


def _kind(path: Path, head: bytes) -> str:
    """The suffix of files that begin like this; empty for text.

    Raises:
        UserError: it is of no kind that is accepted, or not of the one that its suffix says.
    """
    if not head:
        raise UserError(f"{path} is empty; {ACCEPTED}")
    for suffix, known in FORMATS.items():
        if known.magic and head.startswith(known.magic):
            return suffix
    suffix = path.suffix.lower()
    if suffix in FORMATS and FORMATS[suffix].magic:
        raise UserError(f"{path} is not {FORMATS[suffix].title}, or is damaged; {ACCEPTED}")
    if b"\0" in head:
        raise UserError(f"{path} is of no kind that lj-vae reads; {ACCEPTED}")
    first = head.split(b"\n", 1)[0]
    return ".xyz" if suffix in (".xyz", ".extxyz") or (path == STDIN and first.strip().isdigit()) else ""
