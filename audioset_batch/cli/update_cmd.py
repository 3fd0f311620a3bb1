"""`audioset-batch update-yt-dlp`: the newest yt-dlp, safe while workers run."""

from __future__ import annotations

import argparse

from audioset_batch.cli.common import add_config_options, config_from


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `update-yt-dlp`."""
    parser = commands.add_parser(
        "update-yt-dlp",
        help="update yt-dlp, also while workers run",
        description="Install the newest yt-dlp and its dependencies beside the version in use, and test it with a clip "
        "of a stand-in for YouTube and, if there is a network, a probe clip of YouTube itself. If the test succeeds, "
        "new tasks and commands use it; running ones keep theirs. If it fails, the version in use stays. See "
        "docs/yt-dlp.md.",
        epilog="Exit status: 0 the newest version is in use; 1 it could not be installed or does not work here; 2 "
        "usage or config error; 75 another update is running.",
    )
    add_config_options(parser, runs=True)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--pre", action="store_true", help="include nightly builds")
    choice.add_argument("--undo", action="store_true", help="go back to the installed yt-dlp")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Update or go back."""
    from audioset_batch.update import undo, update

    if args.undo:
        print(f"yt-dlp {undo()}, the installed one, is what new tasks and commands take")
        return 0
    update(config_from(args), print, pre=args.pre)
    return 0
