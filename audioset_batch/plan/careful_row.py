"""The careful reader: one line of a segments CSV in any spelling seen in the wild, or what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audioset_batch.model import YTID_PATTERN

MAX_MS: Final = 10**10
"""Times beyond this (115 days) are taken for damage."""

_NUMBER: Final = re.compile(r"(\d+)(?:\.(\d*))?|()\.(\d+)", re.ASCII)
_SPREADSHEET_ERROR: Final = re.compile(r"#(NAME\?|REF!|VALUE!|DIV/0!|N/A|NULL!|NUM!)", re.IGNORECASE)


class Kind(StrEnum):
    """Kinds of problems, as they are counted for the user."""

    DAMAGED_ID = "id damaged by a spreadsheet"
    BAD_ID = "bad id"
    FIELDS = "too few fields"
    BAD_TIME = "time is not a number"
    NEGATIVE_TIME = "negative time"
    ORDER = "end is not after start"
    QUOTE = "unbalanced quotes"
    NO_LABELS = "no labels"
    UNKNOWN_LABEL = "unknown label"
    DUPLICATE = "duplicate segment"


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """The fields of a row; only their form was checked."""

    ytid: str
    start_ms: int
    end_ms: int
    labels: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why a line is not a row."""

    kind: Kind
    detail: str


def parse_careful(line: bytes) -> ParsedRow | BadRow | None:
    """Read one line (with or without its line end). None: blank, or a comment or header that holds no row."""
    text = line.decode("utf-8", errors="replace").strip()
    if not text.strip(', "\t'):
        return None
    fields = [field.strip().strip('"').strip() for field in text.split(",", 3)]
    ytid = fields[0]
    if ytid.startswith("#"):
        if _SPREADSHEET_ERROR.match(ytid):
            return BadRow(Kind.DAMAGED_ID, f"{ytid!r} where the id should be: the file went through a spreadsheet")
        if len(fields) < 3 or not (_NUMBER.fullmatch(fields[1]) and _NUMBER.fullmatch(fields[2])):
            return None
    if ytid.lower() == "ytid":
        return None
    if not YTID_PATTERN.match(ytid):
        return BadRow(Kind.BAD_ID, f"{_short(ytid)} is not 11 characters of A-Z, a-z, 0-9, _ and -")
    if len(fields) < 3:
        return BadRow(Kind.FIELDS, f"expected id, start, end and labels, found {len(fields)} of them")
    times: list[int] = []
    for name, field in (("start", fields[1]), ("end", fields[2])):
        time = _milliseconds(field)
        if time is None:
            if _milliseconds(field.removeprefix("-")) is not None:
                return BadRow(Kind.NEGATIVE_TIME, f"{name} {field} is negative")
            return BadRow(Kind.BAD_TIME, f"{name} {_short(field)} is not a time in seconds")
        times.append(time)
    labels = text.split(",", 3)[3] if len(fields) == 4 else ""
    if labels.count('"') % 2:
        return BadRow(Kind.QUOTE, "a quote is opened and not closed")
    mids = [label for label in (part.strip() for part in labels.replace('"', "").split(",")) if label]
    if not mids:
        return BadRow(Kind.NO_LABELS, "no labels after the end time")
    return ParsedRow(ytid, times[0], times[1], ",".join(mids))


def _milliseconds(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[1] or "0", match[2] or match[4] or ""
    if len(whole) > 15:
        return None
    milliseconds = int(whole) * 1000 + int(fraction[:3].ljust(3, "0")) + (fraction[3:4] >= "5")
    return milliseconds if milliseconds <= MAX_MS else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
