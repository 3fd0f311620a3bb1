"""Rows that say `unavailable` without evidence about the video, as earlier versions of this program wrote them."""

from __future__ import annotations

import re
from typing import Final

from audioset_batch.plan.changed import BY_WORDING
from audioset_batch.plan.retry import Known
from audioset_batch.reasons import TRANSIENT_REASONS, Reason, Status
from audioset_batch.youtube.wordings import Blocked, meaning_of

_DRM: Final = re.compile(r"(?i)\bdrm\b")
_LISTED: Final = re.compile(r"among the \d+ formats \(([^)]*)\)")
_STORYBOARD: Final = re.compile(r"sb\d+")
_OF_A_LIST: Final = re.compile(r"known from [^:]*:? ?")
"""`adopt --known` puts this before the words of a list that others have made."""


class Doubtful:
    """Fits rows that are permanent on the word of one client, on an incomplete list of formats, or on none at all."""

    def why(self, known: Known) -> str | None:
        """What is wrong with the row; None if nothing is."""
        row = known.row
        if row["status"] != Status.UNAVAILABLE:
            return None
        reason, detail = str(row.get("reason") or ""), str(row.get("detail") or "")
        words = _OF_A_LIST.sub("", detail, count=1)
        if reason in (Reason.NO_AUDIO, Reason.NO_VIDEO):
            return _formats(detail, earlier="audio_track" not in row)
        if (detail and not words) or BY_WORDING.search(detail):
            return None  # a list without words, or the user's own pattern
        meaning = meaning_of(words)
        if isinstance(meaning, Blocked):
            return f"a ban, not the video: {meaning.kind}"
        if meaning in TRANSIENT_REASONS:
            return "one client, or one moment"
        if reason == Reason.NONEXISTENT and meaning is not Reason.NONEXISTENT:
            return "no words that say so" if meaning is None else f"the words say {meaning}"
        return None


def _formats(detail: str, *, earlier: bool) -> str | None:
    if _DRM.search(detail):
        return "DRM, from some clients only"
    listed = _LISTED.search(detail)
    if listed is not None and all(_STORYBOARD.fullmatch(name.strip()) for name in listed[1].split(",")):
        return "nothing but storyboards was offered"
    # Formats without an address, skipped by yt-dlp, and the user's own -f counted as formats that are not there.
    return "formats that were skipped did not count" if earlier else None
