"""Configurations from files of any origin: read one at a time, and checked.

Only regular files and the standard input are opened, nothing in them is executed, and no size that they declare is
believed before the bytes are there.
"""

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import chain, islice
from math import isclose, prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import extxyz
import gsd.fl
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import check_regular
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.reader import BYTES_AT_ONCE, ROWS_AT_ONCE, Dataset
from lj_vae_hpc.store.structure import Damaged

ACCEPTED = (
    "accepted are a dataset.h5 of lj-vae, .npz or HDF5 with an array `positions` (n, N, 2), .npy (n, N, 2), .xyz, "
    ".gsd, and text with one configuration per line, x1 y1 x2 y2 ..."
)
STDIN = Path("-")
LONGEST_LINE = 1 << 24  # bytes
HEAD = 1 << 16  # bytes that tell what a file is
KINDS = {
    ".h5": (b"\x89HDF\r\n\x1a\n", "HDF5"), ".npz": (b"PK", "a NumPy archive"), ".npy": (b"\x93NUMPY", "a NumPy array"),
    ".gsd": (b"\xdf\x65\xdf\x65\xdf\x65\xdf\x65", "GSD"),
}  # fmt: skip
"""How files of a kind begin, whatever they are called."""
XYZ = (".xyz", ".extxyz")


class Configuration(NamedTuple):
    """One configuration of a file.

    Attributes:
        place: where it stands there, for messages: its row, from 0, and the line of a text file, from 1.
        positions: (N, 2), in σ.
        gamma: γ as the file tells it, if it does.
        box_side: L in σ as the file tells it, if it does.
        in_corner: whether the origin is known to lie in the corner of the box.
    """

    place: str
    positions: NDArray[Any]
    gamma: Any = None
    box_side: Any = None
    in_corner: bool = False


def read_configurations(path: Path, box_side: float, center: bool = False) -> Iterator[Configuration]:
    """Reads a file one configuration at a time; its first bytes, and else its suffix, say what it is.

    Text holds a configuration per line, x1 y1 x2 y2 ... in σ, separated by blanks or commas; lines that begin with #
    are comments. A NumPy archive or an HDF5 file holds `positions` (n, N, 2), and maybe `gamma` and `box_side`, (n,) or
    one number; a NumPy array is the positions. Frames of extended XYZ may have a `gamma` and a lattice. GSD has its box
    centred on the origin, and maybe log/gamma; its origin is moved to the corner.

    Args:
        path: the file; `-` is the standard input.
        box_side: L, in σ.
        center: whether coordinates lie in [-L/2, L/2] and are moved to [0, L].

    Raises:
        UserError: a missing, damaged or empty file, or one of another kind, with the row.
    """
    row, kind = 0, "a file of configurations"
    try:
        with _opened(path) as (file, suffix):
            kind = KINDS[suffix][1] if suffix in KINDS else "extended XYZ" if suffix in XYZ else "text"
            for configuration in READERS[suffix](file, path, box_side):
                row += 1
                shift = 0.0 if configuration.in_corner or not center else box_side / 2
                yield configuration._replace(positions=configuration.positions + shift) if shift else configuration
    except UserError:
        raise
    except Exception as error:  # the libraries raise anything where a file is damaged
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise UserError(f"{path}, row {row}: not {kind}, or damaged: {reason:.300}") from None
    if not row:
        raise UserError(f"{path} holds no configuration; {ACCEPTED}")


def find_problem(configuration: Configuration, n_particles: int, box_side: float) -> str | None:
    """Why a configuration is not one of N particles in a box of side L, in σ, with the origin in a corner; or None."""
    r, side = configuration.positions, configuration.box_side
    if r.shape != (n_particles, 2):
        if r.ndim == 2 and r.shape[1] == 2:
            return f"it has {len(r)} particles, system.n_particles is {n_particles}"
        return f"positions have shape {r.shape}, not ({n_particles}, 2); system.n_particles is {n_particles}"
    if not np.isfinite(r).all():
        return "a coordinate is not finite"
    try:
        same = side is None or isclose(side, box_side, rel_tol=1e-6)
    except TypeError:
        same = False
    if not same:
        return f"the box has side {side}, system.box_side is {box_side:g}"
    with np.errstate(over="ignore"):
        stored = r.astype(np.float32)  # as which a coordinate at the wall may be a little more than L
    for k in np.flatnonzero(((stored < 0) | (stored > np.float32(box_side))).any(axis=1))[:1]:
        centred = (np.abs(stored) <= np.float32(box_side / 2)).all()
        hint = "; --center takes boxes centred on the origin" if centred else ""
        return f"particle {k} at ({r[k, 0]:g}, {r[k, 1]:g}) is outside the box [0, {box_side:g}], system.box_side{hint}"
    return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """What a reader of READERS takes, and the suffix that it belongs to."""
    if path == STDIN:
        stream = sys.stdin.buffer
        head = stream.read(HEAD)
        suffix = _kind(path, head)
        if suffix == "":
            yield chain(BytesIO(head + stream.readline(LONGEST_LINE)), _lines(stream)), suffix
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
        yield (path if suffix else _lines(file)), suffix


def _kind(path: Path, head: bytes) -> str:
    """The suffix of files that begin like this; empty for text.

    Raises:
        UserError: it is of no kind that is accepted, or not of the one that its suffix says.
    """
    if not head:
        raise UserError(f"{path} is empty; {ACCEPTED}")
    for suffix, (magic, _) in KINDS.items():
        if head.startswith(magic):
            return suffix
    suffix = path.suffix.lower()
    if suffix in KINDS:
        raise UserError(f"{path} is not {KINDS[suffix][1]}, or is damaged; {ACCEPTED}")
    if b"\0" in head:
        raise UserError(f"{path} is of no kind that lj-vae reads; {ACCEPTED}")
    first = head.split(b"\n", 1)[0]
    return ".xyz" if suffix in XYZ or (path == STDIN and first.strip().isdigit()) else ""


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; an endless one in pieces."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


def _read_text(lines: Iterator[bytes], path: Path, box_side: float) -> Iterator[Configuration]:
    row = 0
    for number, line in enumerate(lines, 1):
        words = line.decode(errors="replace").replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(line) >= LONGEST_LINE:
            raise UserError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes")
        try:
            numbers = np.array(words, dtype=np.float64)
        except ValueError as error:
            other = "" if row else f"; {ACCEPTED}"
            raise UserError(
                f"{path}, row {row}, line {number}: {error!s:.100}; expected numbers x1 y1 x2 y2 ...{other}"
            ) from None
        if len(numbers) % 2:
            raise UserError(f"{path}, row {row}, line {number}: {len(numbers)} numbers, x and y do not pair up")
        yield Configuration(f"row {row}, line {number}", numbers.reshape(-1, 2))
        row += 1


def _read_extxyz(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    frames = extxyz.iread_dicts(file, slice(_count_frames(file, path)))
    row, line = 0, 1
    while True:
        place = f"row {row}, line {line}"
        try:
            frame = next(frames, None)
        except Exception as error:
            raise UserError(f"{path}, {place}: not extended XYZ: {' '.join(str(error).split()):.200}") from None
        if frame is None:
            return
        positions = np.asarray(frame.arrays.get("pos", []), np.float64)
        if positions.shape == (frame.natoms, 3) and not positions[:, 2].any():
            positions = positions[:, :2]
        side = frame.cell[0, 0] if frame.cell.any() else None
        if side is not None and not np.array_equal(frame.cell[:2, :2], side * np.eye(2)):
            raise UserError(f"{path}, {place}: the lattice is not a square along x and y")
        yield Configuration(place, positions, frame.info.get("gamma"), side)
        row, line = row + 1, line + frame.natoms + 2


def _count_frames(file: Path, path: Path) -> int:
    """Number of frames of a file; where one is cut short the library would stop silently, or crash."""
    with file.open(encoding="utf-8", errors="replace") as text:
        frames, line = 0, 1
        for header in text:
            if not header.strip() and not any(rest.strip() for rest in text):
                break
            try:
                lines = int(header) + 1
                complete = lines > 1 and sum(1 for _ in islice(text, lines)) == lines
            except ValueError:
                raise UserError(
                    f"{path}, row {frames}, line {line}: expected a number of particles, not {header!r:.40}"
                ) from None
            if not complete:
                raise UserError(f"{path}, row {frames}, line {line}: it is cut short, or empty")
            frames, line = frames + 1, line + lines + 1
    return frames


def _read_gsd(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    with gsd.fl.open(str(file), "r") as frames:
        for row in range(frames.nframes):

            def chunk(name: str, row: int = row) -> Any:
                """As the schema has it: what a frame does not hold is as in the first one."""
                held = next((k for k in (row, 0) if frames.chunk_exists(frame=k, name=name)), None)
                return None if held is None else frames.read_chunk(frame=held, name=name)

            place = f"row {row}"
            positions, box, gamma = (chunk(name) for name in ("particles/position", "configuration/box", "log/gamma"))
            if positions is None or box is None or positions.ndim != 2 or box.shape != (6,):
                raise UserError(f"{path}, {place}: a frame without positions or box; the HOOMD schema has them")
            if box[0] != box[1] or box[3]:
                raise UserError(f"{path}, {place}: the box is not a square along x and y")
            if positions.shape[1] == 3 and not positions[:, 2].any():
                positions = positions[:, :2]
            side = box_side if isclose(box[0], box_side, rel_tol=1e-6) else float(box[0])  # stored as float32
            gamma = None if gamma is None else gamma[0]
            yield Configuration(place, positions + np.float64(side / 2), gamma, side, in_corner=True)


def _read_npy(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    with file.open("rb") as stream:
        array = _Stored(stream, file.stat().st_size, f"{path}")
        for row, positions in enumerate(array.configurations()):
            yield Configuration(f"row {row}", positions)


def _read_npz(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if "positions" not in sizes:
            raise UserError(f"{path} has no array positions, only: {', '.join(sizes):.200}; {ACCEPTED}")
        with archive.open("positions.npy") as stream:
            array = _Stored(stream, sizes["positions"], f"{path}: positions")
            known: dict[str, Any] = {}
            for name in sizes.keys() & {"gamma", "box_side"}:
                with archive.open(f"{name}.npy") as other:
                    values = _Stored(other, sizes[name], f"{path}: {name}")
                    if values.shape not in ((), array.shape[:1]):
                        raise UserError(
                            f"{path}: {name} has shape {values.shape}, expected one number or {array.shape[:1]}"
                        )
                    known[name] = values.all()
            for row, positions in enumerate(array.configurations()):
                of_row = {name: float(values[row] if values.ndim else values) for name, values in known.items()}
                yield Configuration(f"row {row}", positions, of_row.get("gamma"), of_row.get("box_side"))


class _Stored:
    """An array in NumPy's format, read from a stream.

    Args:
        stream: at its beginning.
        size: bytes that it holds.
        name: for messages.

    Raises:
        UserError: it holds no numbers.
        ValueError: it is damaged.
    """

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        self.shape, fortran, self._dtype = read(stream)
        self._stream, self._name = stream, name
        if self._dtype.kind not in "fiu":
            raise UserError(f"{name} holds {self._dtype}, not numbers")
        self._columns_first = fortran and len(self.shape) > 1
        if min(self.shape, default=1) < 0 or prod(self.shape) * self._dtype.itemsize > size:
            raise ValueError(f"it declares the shape {self.shape}, but has only {size} bytes")

    def all(self) -> NDArray[Any]:
        """The whole array."""
        count = prod(self.shape)
        values = np.frombuffer(self._take(count * self._dtype.itemsize), self._dtype, count)
        return values.reshape(self.shape, order="F" if self._columns_first else "C")

    def configurations(self) -> Iterator[NDArray[Any]]:
        """One after the other; a single one may stand without its axis."""
        if len(self.shape) == 2 and self.shape[1] == 2:
            yield self.all()
        elif len(self.shape) != 3:
            raise UserError(f"{self._name} has shape {self.shape}, expected (n, N, 2)")
        elif self._columns_first:
            yield from self.all()
        else:
            shape = self.shape[1:]
            for _ in range(self.shape[0]):
                yield np.frombuffer(self._take(prod(shape) * self._dtype.itemsize), self._dtype).reshape(shape)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ValueError("it is cut short")
        return data


def _read_hdf5(file: Path, path: Path, box_side: float) -> Iterator[Configuration]:
    """A data set of lj-vae, of which every row is compared with its checksum, or an HDF5 file with `positions`."""
    wanted = ("positions", "gamma", "box_side")
    try:
        with PlainFile(file, only=(*wanted, "schema_version")) as data:
            if "schema_version" not in data.attributes and "checksum" not in data.names:
                yield from _rows(data, path)
                return
    except Damaged as error:
        raise UserError(f"{path}: {error}") from None
    with Dataset(file) as own:
        side = own.box_side
        for block, columns in own.checked_blocks():
            for row, positions, gamma in zip(block, columns["positions"], columns["gamma"], strict=True):
                yield Configuration(f"row {row}", positions, float(gamma), side, in_corner=True)


def _rows(data: PlainFile, path: Path) -> Iterator[Configuration]:
    """The configurations of an HDF5 file of any origin."""
    if "positions" not in data.arrays:
        raise UserError(f"{path} has no data set positions, only: {', '.join(data.names):.200}; {ACCEPTED}")
    shape = data.arrays["positions"].shape
    for name, array in data.arrays.items():
        expected = "(n, N, 2)" if name == "positions" else f"one number or {shape[:1]}"
        if not (len(shape) == 3 if name == "positions" else array.shape in ((), shape[:1])):
            raise UserError(f"{path}: {name} has shape {array.shape}, expected {expected}")
        if array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} holds {array.dtype}, not numbers")
    at_once = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, 8 * prod(shape[1:]))))
    for start in range(0, shape[0], at_once):
        rows = range(start, min(start + at_once, shape[0]))
        columns = {
            name: data.read(name, rows.start, rows.stop) if array.shape else np.broadcast_to(data.read(name), len(rows))
            for name, array in data.arrays.items()
        }
        for k, row in enumerate(rows):
            known = {name: float(columns[name][k]) for name in columns.keys() - {"positions"}}
            yield Configuration(f"row {row}", columns["positions"][k], known.get("gamma"), known.get("box_side"))


READERS: dict[str, Callable[[Any, Path, float], Iterator[Configuration]]] = {
    ".npz": _read_npz, ".npy": _read_npy, ".gsd": _read_gsd, ".h5": _read_hdf5, ".xyz": _read_extxyz,
    "": _read_text,
}  # fmt: skip
