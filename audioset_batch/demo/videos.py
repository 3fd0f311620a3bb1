"""The made-up videos of the demo: most are ordinary, some are of the kinds that are hard to download."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from audioset_batch.standin import Catalog, Outcome, dubbed
from audioset_batch.standin.catalog import EVERY_CLIENT

_UNAVAILABLE: Final = 0.25
_KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"tracks": dubbed("ja", "en-US", "de")},
    {"kids": True},
    {"sabr": ("VISIONOS",), "hls": False},
    {"sabr": (EVERY_CLIENT,)},
    {"muxed": True},
    {"ad_seconds": 1.0},
)
"""In order: several audio tracks; hidden from the first player client; no URLs for that client; HLS only; a format with
sound and pictures for that client; an advertisement first."""


def made_up_videos(needs: Mapping[str, float]) -> Catalog:
    """Make up videos for these ids. A few are too short for their segment.

    A quarter is unavailable; half of those use the newer of the two error screens of YouTube.
    """
    catalog = Catalog.from_ids(needs, seed=7, unavailable_share=_UNAVAILABLE, short_share=0.1, seconds=(60.0, 180.0))
    videos = list(catalog.videos.values())
    for video in [video for video in videos if video.outcome is not Outcome.OK][::2]:
        catalog.put(dataclasses.replace(video, interstitial=True))
    good = [video for video in videos if video.outcome is Outcome.OK and video.seconds >= needs[video.ytid]]
    for video, kind in zip(good, _KINDS, strict=False):
        catalog.put(dataclasses.replace(video, **kind))
    return catalog
