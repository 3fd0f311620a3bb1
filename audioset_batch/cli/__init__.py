"""The command line: parses, calls one command module, turns errors into text and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from audioset_batch.cli.common import ignore_stdout, shield_ids
from audioset_batch.errors import AudiosetBatchError, StopRun

COMMAND_MODULES = (
    "prep_cmd",
    "plan_cmd",
    "screen_cmd",
    "check_cmd",
    "submit_cmd",
    "worker_cmd",
    "download_cmd",
    "merge_cmd",
    "status_cmd",
    "report_cmd",
    "retry_cmd",
    "adopt_cmd",
    "export_cmd",
    "features_cmd",
    "embed_cmd",
    "train_cmd",
    "update_cmd",
    "completion_cmd",
    "demo_cmd",
)
"""Modules of this package with `register(commands)`; they import nothing heavy at the top."""


def build_parser() -> argparse.ArgumentParser:
    """The whole parser, with every command registered."""
    parser = argparse.ArgumentParser(
        prog="audioset-batch",
        description="Download AudioSet on a SLURM cluster or on one machine: clips, a manifest, features, classifiers.",
        epilog="Exit status: 0 done; 1 some segments are failed or pending, or input was refused; 2 usage or config "
        "error; 75 stopped early on purpose, run again later.",
    )
    parser.add_argument("--version", action="store_true", help="print the versions of this program and its tools")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in COMMAND_MODULES:
        importlib.import_module(f"audioset_batch.cli.{name}").register(commands)
    return parser


def _refuse(parser: argparse.ArgumentParser, args: argparse.Namespace, unknown: Sequence[str]) -> NoReturn:
    """End with the usage of the command that does not know these arguments, and what may have been meant."""
    import difflib

    while subcommands := [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]:
        chosen = getattr(args, subcommands[0].dest, None)
        if chosen is None:
            break
        parser = subcommands[0].choices[chosen]
    options = [option for action in parser._actions for option in action.option_strings]
    meant = [near for one in unknown for near in difflib.get_close_matches(one.partition("=")[0], options, 1)]
    hint = f" (did you mean {', '.join(meant)}?)" if meant else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status of docs/commands.md."""
    os.umask(os.umask(0o022) | 0o022)  # nothing is writable for a group unless its folder is shared with it
    status = 0
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has gone: not an error
        ignore_stdout()
    return status


def _complain(command: str, text: str) -> None:
    from audioset_batch.untrusted import visible_lines

    print(visible_lines(f"audioset-batch {command}: {text}"), file=sys.stderr)


def _run(argv: Sequence[str] | None) -> int:
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # no process that we start imports from the current folder
    parser = build_parser()
    args, unknown = parser.parse_known_args(shield_ids(sys.argv[1:] if argv is None else argv))
    if unknown:
        _refuse(parser, args, unknown)
    if args.version:
        from audioset_batch.submit.checks.versions import version_lines

        print("\n".join(version_lines()))
        return 0
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = args.run(args)
    except StopRun as error:
        _complain(args.command, str(error))
        return error.exit_code
    except AudiosetBatchError as error:
        _complain(args.command, str(error))
        return 1
    except OSError as error:
        if error.filename is None:  # not about a file that the user could do something about
            raise
        _complain(args.command, f"{error.filename2 or error.filename}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        print(f"audioset-batch {args.command}: interrupted", file=sys.stderr)
        return 130
    return status
