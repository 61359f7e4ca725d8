"""Prints docs/commands.md from the command line's own help: python docs/make_commands.py > docs/commands.md."""

from inspect import cleandoc

import click

from lj_vae_hpc.cli import cli


def page(name: str, command: click.Command, level: int) -> str:
    """A command with its options and examples; those of a group follow."""
    context = click.Context(command, info_name=name, terminal_width=10_000, max_content_width=10_000)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{'#' * level} {name}", f"    {usage}", cleandoc(command.help or "")]
    options = [one.get_help_record(context) for one in command.get_params(context)]
    rows = [
        f"| {option} | {' '.join(text.split())} |".replace("\\", "")
        for option, text in ((f"`{record[0]}`", record[1]) for record in options if record)
        if text and "--help" not in option
    ]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    if command.epilog:
        parts.append(_epilog(command.epilog))
    if isinstance(command, click.Group):
        parts += [page(f"{name} {own}", each, level + 1) for own, each in command.commands.items() if not each.hidden]
    return "\n\n".join(parts)


def _epilog(text: str) -> str:
    """The examples, as they are; other paragraphs of an epilog in a line each."""
    blocks = [block.strip("\n") for block in text.split("\b\n") if block.strip()]
    return "\n\n".join(
        "Examples:\n\n" + "\n".join(f"  {line}" for line in block.splitlines()[1:])
        if block.startswith("Examples:")
        else " ".join(block.split())
        for block in blocks
    )


def main() -> str:
    """The whole page."""
    return page("lj-vae", cli, 1).replace("# lj-vae\n", "# Every command and option\n", 1) + "\n"


if __name__ == "__main__":
    print(main(), end="")
