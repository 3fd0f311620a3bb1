"""`audioset-batch completion`: completion of commands and options for a shell."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `completion`."""
    parser = commands.add_parser(
        "completion",
        help="print shell completion",
        description="Print a completion script. For bash: audioset-batch completion bash > "
        "~/.local/share/bash-completion/completions/audioset-batch",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from audioset_batch.cli import build_parser

    print(shtab.complete(build_parser(), args.shell))
    return 0
