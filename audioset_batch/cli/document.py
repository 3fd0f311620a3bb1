"""`docs/commands.md` from the parser itself: `python -m audioset_batch.cli.document` prints it."""

from __future__ import annotations

import argparse
import os
import sys

from audioset_batch.cli import build_parser

_STATUS = """\
| exit status | meaning |
|---|---|
| 0 | every planned segment is ok or unavailable, or the command did what it says |
| 1 | some segments are failed or pending, input was refused, or a check failed |
| 2 | usage or config error; nothing was started |
| 75 | stopped early on purpose; run the same command again later |
"""


def markdown() -> str:
    """The text of `docs/commands.md`."""
    parser = build_parser()
    lines = ["# Commands", "", "Generated from the code (`make reference`).", "", _STATUS]
    for name, command in _commands(parser).items():
        lines += [f"## {name}", "", "```text", _help(command), "```", ""]
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command by its name, those below a command included."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found[command.prog] = command
                found |= _commands(command)
    return found


def _help(parser: argparse.ArgumentParser) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "102"  # the page must not depend on somebody's terminal
    try:
        return parser.format_help().rstrip()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


if __name__ == "__main__":
    sys.stdout.write(markdown())
