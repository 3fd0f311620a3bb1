"""The demo's made-up videos: most are ordinary, some are of the kinds that make YouTube hard."""

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
"""Several audio tracks; not shown to the client that is asked first; no addresses for it; HLS alone; no format with
sound and pictures for it; an advertisement first."""


def made_up_videos(needs: Mapping[str, float]) -> Catalog:
    """Videos for these ids, each at least as long as needed but for a few that are too short.

    A quarter cannot be watched; half of these say so in the newer of YouTube's two error screens.
    """
    catalog = Catalog.from_ids(needs, seed=7, unavailable_share=_UNAVAILABLE, short_share=0.1, seconds=(60.0, 180.0))
    videos = list(catalog.videos.values())
    for video in [video for video in videos if video.outcome is not Outcome.OK][::2]:
        catalog.put(dataclasses.replace(video, interstitial=True))
    good = [video for video in videos if video.outcome is Outcome.OK and video.seconds >= needs[video.ytid]]
    for video, kind in zip(good, _KINDS, strict=False):
        catalog.put(dataclasses.replace(video, **kind))
    return catalog
