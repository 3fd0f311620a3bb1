"""Proxy URLs: their form, so that a password in one is always found again and never shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_URL: Final = re.compile(
    r"""(?ix) (?:https?|socks4a?|socks5h?)://
    (?: (?:[a-z0-9._~!$&()*+,;=:-]|%[0-9a-f]{2})* @ )?
    (?: \[[0-9a-f:.]+(?:%\w+)?\] | [\w.-]+ ) (?: :\d{1,5} )? /?"""
)
_CREDENTIALS: Final = re.compile(r"(?s)[^:/]+://(.*)@")
_LONGEST_FILE: Final = 4096


def proxy_problem(url: str) -> str:
    """What is wrong with a proxy URL, without any part of it; "" if nothing is."""
    if _URL.fullmatch(url):
        return ""
    if _CREDENTIALS.match(url):
        return (
            "not a proxy URL: in its user and password every character but letters, digits and .-_~!$&()*+,;= must be "
            "percent-encoded (/ is %2F, # is %23, ? is %3F, @ is %40, : is %3A, % is %25): "
            "python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), \"\"))'"
        )
    return "not a proxy URL: expected http://, https:// or socks5://, a host and optionally :PORT, and nothing after it"


def read_proxy_file(path: Path) -> str:
    """The URL in the only line of a file.

    Raises:
        ValueError: the file cannot be read or holds something else; the text shows nothing of what it holds.
    """
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(_LONGEST_FILE).split("\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text: expected one line with the URL of the proxy") from None
    urls = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(urls) != 1:
        raise ValueError(f"{path} holds {len(urls)} lines: expected one, the URL of the proxy")
    problem = proxy_problem(urls[0])
    if problem:
        raise ValueError(f"{path}: {problem}")
    return urls[0]
