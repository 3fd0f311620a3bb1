"""No secret in any file or log: proxy URLs may carry a user and a password, options may be one."""

from __future__ import annotations

import re
from typing import Any, Final

_CREDENTIALS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"]*@")

_BARE: Final = re.compile(r"(?<![^\s='\"])[^\s/?#'\"@:=]+:[^\s/?#'\"@]+@(?=[\w\[])")
"""yt-dlp takes a proxy without its scheme, too: `user:secret@host:3128`."""

_ASSIGNED: Final = re.compile(
    r"(?is)([\w-]*(?:password|passwd|secret|token|api[_-]?key|cookie|authorization)[\w-]*[\"']?\s*[=:]\s*).+"
)
_SECRET_OPTION: Final = re.compile(r"--(us|pa|tw|video-pa|ap-(p|u)|client-certificate-p|add-h|netrc-c)|-[up2](?!-)")
"""yt-dlp's options whose value is a secret; it takes long options by their beginnings as well."""


def redact_proxy(url: str | None) -> str:
    """`http://user:secret@host:3128` -> `http://***@host:3128`; None -> `direct`."""
    return "direct" if url is None else redact(url)


def redact(text: str) -> str:
    """`text` with the credentials of every URL, and of every host with a user and a password, replaced by `***`."""
    return _BARE.sub("***@", _CREDENTIALS.sub(r"\1***@", text))


def redact_values(value: Any) -> Any:
    """A tree of JSON without secrets: credentials in URLs, what follows `password=` and the like, secret options.

    A list of strings is taken for a command line: the value after `--password` goes, too.
    """
    if isinstance(value, dict):
        return {key: redact_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        result: list[Any] = []
        hide_next = False
        for inner in value:
            shown, follows = _redact_argument(inner) if isinstance(inner, str) else (redact_values(inner), False)
            result.append("***" if hide_next else shown)
            hide_next = follows and not hide_next
        return result
    return _ASSIGNED.sub(r"\1***", redact(value)) if isinstance(value, str) else value


def _redact_argument(argument: str) -> tuple[str, bool]:
    """An element of a command line as it may be shown, and whether the next one is a secret."""
    if _SECRET_OPTION.match(argument) is None:
        return redact_values(argument), False
    if argument.startswith("--"):
        name, assigned, _ = argument.partition("=")
        return (f"{name}=***", False) if assigned else (argument, True)
    return (f"{argument[:2]}***", False) if len(argument) > 2 else (argument, True)
