"""Text with one configuration per line."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.foreign.configuration import ACCEPTED, Configuration

LONGEST_LINE = 1 << 24  # bytes


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; an endless one in pieces."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


def _words(line: bytes) -> list[str]:
    return line.decode(errors="replace").replace(",", " ").split()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_text(lines: Iterator[bytes], path: Path, box_side: float) -> Iterator[Configuration]:
    """The lines; those that begin with # are comments."""
    row = 0
    for number, line in enumerate(lines, 1):
        words = _words(line)
        if not words or words[0].startswith("#"):
            continue
        if len(line) >= LONGEST_LINE:
            raise UserError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes")
        try:
            numbers = np.array(words, dtype=np.float64)
        except ValueError as error:
            below = _words(next(lines, b""))
            if not row and below and all(map(_is_number, below)) and not any(map(_is_number, words)):
                raise UserError(
                    f"{path}, line {number} looks like a header: begin it with #, or leave it out. Every other line is "
                    "one configuration, x1 y1 x2 y2 ...; one particle per line is not read"
                ) from None
            other = "" if row else f"; {ACCEPTED}"
            raise UserError(
                f"{path}, row {row}, line {number}: {error!s:.100}; expected numbers x1 y1 x2 y2 ...{other}"
            ) from None
        if len(numbers) % 2:
            hint = "; one particle per line is not read, only one configuration per line" * (len(numbers) < 6)
            raise UserError(f"{path}, row {row}, line {number}: {len(numbers)} numbers, x and y do not pair up{hint}")
        yield Configuration(f"row {row}, line {number}", numbers.reshape(-1, 2))
        row += 1
