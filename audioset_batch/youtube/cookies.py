"""Read cookie files in Netscape's format, as browser add-ons export them; refuse anything else.

Checked before yt-dlp reads them, because it skips lines that it does not understand, and prints them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from audioset_batch.errors import UsageError

_HEADER: Final = re.compile(r"#( Netscape)? HTTP Cookie File")
_HTTP_ONLY: Final = "#HttpOnly_"
_FIELDS: Final = 7
_EXPIRY: Final = re.compile(r"(\d+(\.\d+)?)?")
_LARGEST: Final = 4 * 1024 * 1024
_EXPECTED: Final = "expected Netscape's format, as `yt-dlp --cookies-from-browser BROWSER --cookies FILE` writes it"


def read_cookies(path: Path) -> str:
    """Read the text of a cookie file.

    Raises:
        UsageError: it cannot be read, or is no cookie file; the message shows nothing of its content.
    """
    text = _text(path)
    lines = text.splitlines()
    if not text.strip():
        raise _refused(path, "is empty")
    if text.lstrip()[0] in "[{":
        raise _refused(path, "is JSON")
    if text.lstrip()[0] == "<":
        raise _refused(path, "is HTML")
    if _HEADER.match(lines[0]) is None:
        raise _refused(path, "does not begin with the line `# Netscape HTTP Cookie File`")
    cookies = 0
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(_HTTP_ONLY)
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != _FIELDS:
            raise _refused(
                path, f"has {len(fields)} fields in line {number}, where a cookie has {_FIELDS}, each after a tab"
            )
        if _EXPIRY.fullmatch(fields[4]) is None:
            raise _refused(path, f"has no time in the fifth field of line {number}")
        cookies += 1
    if not cookies:
        raise _refused(path, "has no cookie in it")
    return text


def _text(path: Path) -> str:
    try:
        if not path.is_file() and path.exists():
            raise _refused(path, "is no file")
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cookie file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _refused(path, "is no text") from error
    if len(text) > _LARGEST:
        raise _refused(path, f"has more than {_LARGEST:,} characters")
    return text


def _refused(path: Path, what: str) -> UsageError:
    return UsageError(f"cookie file {path} {what}: {_EXPECTED}")
