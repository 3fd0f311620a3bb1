"""Translate options of the yt-dlp command to options of its Python interface."""

from __future__ import annotations

import contextlib
import optparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

import yt_dlp
from yt_dlp.options import create_parser
from yt_dlp.utils import YoutubeDLError

from audioset_batch.config.proxy import proxy_problem
from audioset_batch.errors import UsageError

_REFUSED: Final = "youtube.args: yt-dlp does not take them"
_ONLY_FOR_PEOPLE: Final = {
    "print_help": "--help",
    "verbose": "--verbose",
    "batchfile": "--batch-file",
}
"""Options that make yt-dlp's parser print or read standard input. It is called from threads, which share stdin, stdout
and stderr, so these cannot be redirected for the parser alone."""


def parse_args(args: Sequence[str]) -> dict[str, Any]:
    """Parse options of the yt-dlp command with its own parser; safe to call from several threads.

    Unlike the parser, yt-dlp's Python interface ignores unknown options.

    Raises:
        UsageError: an option is invalid; with yt-dlp's message.
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
    _refuse_languages(options)
    _refuse_proxies(options)
    return options


def plugin_dirs_of(args: Sequence[str]) -> list[str]:
    """The folders of `--plugin-dirs` and `--no-plugin-dirs`; `args` have passed `parse_args`."""
    values, _ = create_parser().parse_known_args(["--ignore-config", *args])
    return list(values.plugin_dirs or ())


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Translate errors in options that yt-dlp finds only when it is created, such as in a format selector.

    Raises:
        UsageError: with yt-dlp's message.
    """
    try:
        yield
    except (YoutubeDLError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{_REFUSED}: {' '.join(str(error).split())}") from error


def _refuse_languages(options: Mapping[str, Any]) -> None:
    """Refuse other languages: answers are understood by their English wording (`hl=en`, yt-dlp's default)."""
    languages = options.get("extractor_args", {}).get("youtube", {}).get("lang")
    headers = [name for name in options.get("http_headers") or () if name.lower() == "accept-language"]
    if languages or headers:
        raise UsageError(
            f"youtube.args: {'youtube:lang' if languages else headers[0]} changes the language of YouTube's answers, "
            "and their meaning is read from their English words: leave it out"
        )


def _refuse_proxies(options: Mapping[str, Any]) -> None:
    for name in ("proxy", "geo_verification_proxy"):
        url = options.get(name) or ""
        if "@" in url and (problem := proxy_problem(url if "://" in url else f"http://{url}")):
            raise UsageError(f"youtube.args: --{name.replace('_', '-')}: {problem}")


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
    """The last line of yt-dlp's message, which begins with the command's usage."""
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("-: error: ") if lines else type(error).__name__
