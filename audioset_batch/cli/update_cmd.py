"""`audioset-batch update-yt-dlp`: the newest yt-dlp, safe while workers run."""

from __future__ import annotations

import argparse

from audioset_batch.cli.common import add_config_options, config_from


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `update-yt-dlp`."""
    parser = commands.add_parser(
        "update-yt-dlp",
        help="bring yt-dlp to its newest release, also while workers run",
        description="Install the newest yt-dlp beside the one in use, with all that it needs, and try it: a clip of a "
        "stand-in for YouTube, and a probe clip of YouTube itself where there is a network. Only then new tasks and "
        "commands take it; those that run keep theirs. If anything fails, the one in use stays. See docs/yt-dlp.md.",
        epilog="Exit status: 0 the newest is in use; 1 it could not be had or does not work here; 2 usage or config "
        "error; 75 somebody else is updating just now.",
    )
    add_config_options(parser, runs=True)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--pre", action="store_true", help="take nightly builds as well")
    choice.add_argument("--undo", action="store_true", help="go back to the yt-dlp that is installed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Update or go back."""
    from audioset_batch.update import undo, update

    if args.undo:
        print(f"yt-dlp {undo()}, the installed one, is what new tasks and commands take")
        return 0
    update(config_from(args), print, pre=args.pre)
    return 0
