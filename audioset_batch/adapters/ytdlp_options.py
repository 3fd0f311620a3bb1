"""Options of the yt-dlp command as the options of its Python interface."""

from __future__ import annotations

import optparse
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import yt_dlp
from yt_dlp.options import create_parser

from audioset_batch.errors import UsageError

_REFUSED: Final = "youtube.args: yt-dlp does not take them"
_ONLY_FOR_PEOPLE: Final = {
    "print_help": "--help",
    "verbose": "--verbose",
    "batchfile": "--batch-file",
}
"""Options that make yt-dlp's parser print, or read standard input: it is called from threads of a process that has one
stdout, one stderr and one stdin, and exchanging them for the parser would exchange them for everybody."""


def parse_args(args: Sequence[str]) -> dict[str, Any]:
    """Options of the yt-dlp command as its Python options, by yt-dlp's own parser.

    Its options dictionary accepts unknown keys in silence; its parser does not. Safe to call from several threads.

    Raises:
        UsageError: with yt-dlp's own words.
    """
    arguments = ["--ignore-config", *args]
    try:
        _refuse_what_prints(arguments)
        parsed = yt_dlp.parse_options(arguments)
    except UsageError:
        raise
    except SystemExit as error:
        raise UsageError(f"{_REFUSED}: {error.code or 'no reason given'}") from error
    except Exception as error:
        raise UsageError(f"{_REFUSED}: {_last_line(error)}") from error
    if parsed.urls:
        raise UsageError(f"youtube.args: {parsed.urls[0]!r} is not an option of yt-dlp")
    options: dict[str, Any] = parsed.ydl_opts
    return options


def _refuse_what_prints(arguments: list[str]) -> None:
    parser = create_parser()
    parser.print_version = _refuse_version
    values, _ = parser.parse_known_args(arguments)
    for name, option in _ONLY_FOR_PEOPLE.items():
        if getattr(values, name, None):
            raise UsageError(f"youtube.args: {option} has no effect here: leave it out")


def _refuse_version(*_: object) -> NoReturn:
    raise optparse.OptParseError("--version has no effect here: leave it out")


def _last_line(error: Exception) -> str:
    """Of yt-dlp's message, which begins with how the command is used."""
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("-: error: ") if lines else type(error).__name__
