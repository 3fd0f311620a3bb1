"""Colours for the text on a terminal or in a picture. No information is in the colours alone."""

from __future__ import annotations

import re
from typing import Final

from rich.text import Text

from audioset_batch.status.text import GLYPHS

_BAR: Final = re.compile(r"(?m)^\[[#=!. ]+\]")
_WORDS: Final = {
    r"(?m)^.+ UTC$": "bold",
    r"(?m)^ +planned.*$": "dim",
    r"(?m)^(?:shard|egress) +state.*$": "dim",
    r"(?m)^\S+ +(running|open)\b": "green",
    r"(?m)^\S+ +(lost)\b": "bold red",
    r"(?m)^\S+ +(stopped|paused|probing|slow)\b": "yellow",
    r"NOT COUNTED|SLURM does not answer": "yellow",
}
_GLYPH_STYLES: Final = {"ok": "green", "unavailable": "blue", "failed": "bold red", "pending": "dim"}


def coloured(text: str) -> Text:
    """The result of `text.render` with colours."""
    result = Text(text)
    for pattern, style in _WORDS.items():
        for match in re.finditer(pattern, text):
            result.stylize(style, *match.span(match.lastindex or 0))
    for bar in _BAR.finditer(text):
        for word, glyph in GLYPHS.items():
            for run in re.finditer(re.escape(glyph) + "+", bar[0]):
                result.stylize(_GLYPH_STYLES[word], bar.start() + run.start(), bar.start() + run.end())
    return result
