"""Small files that appear complete."""

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears by rename when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
