"""Player answers of a YouTube that has changed since this yt-dlp was made."""

from __future__ import annotations

import json
from typing import Any, Final

from audioset_batch.standin.faults import Trouble

_WORDS: Final = "This content moved to a new kind of player."


def drifted(answer: bytes, trouble: Trouble) -> bytes:
    """A player answer as the fault has it; unchanged where it is no drift of answers."""
    if trouble not in (Trouble.NO_ADDRESSES, Trouble.NEW_WORDS, Trouble.NEW_SCREEN):
        return answer
    told: dict[str, Any] = json.loads(answer)
    if trouble is Trouble.NO_ADDRESSES:
        streaming = told.get("streamingData", {})
        for kind in ("formats", "adaptiveFormats"):
            for entry in streaming.get(kind, ()):
                entry.pop("url", None)
        streaming.pop("hlsManifestUrl", None)
        streaming["serverAbrStreamingUrl"] = "https://rr1---sn-standin.googlevideo.com/videoplayback?sabr=1"
        told["streamingData"] = streaming
    else:
        told.pop("streamingData", None)
        shown: dict[str, Any] = {"status": "UNPLAYABLE"}
        if trouble is Trouble.NEW_WORDS:
            shown["reason"] = _WORDS
            shown["errorScreen"] = {"playerErrorMessageRenderer": {"reason": {"simpleText": _WORDS}}}
        else:
            shown["errorScreen"] = {"playerNoticeRenderer": {"body": {"model": {"title": {"content": _WORDS}}}}}
        told["playabilityStatus"] = shown
    return json.dumps(told).encode()
