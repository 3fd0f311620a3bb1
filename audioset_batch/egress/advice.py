"""Messages about the problem of an egress, and what to do about it."""

from __future__ import annotations

import importlib.metadata

from audioset_batch.egress.losses import Losses
from audioset_batch.youtube.versions import age_days, version_in_use


def drift_message(losses: Losses, probe: str) -> str:
    """Message for an egress whose probe fails like everything else; `probe` is the probe's error."""
    return f"{_update()}. No resolve brings a clip ({losses.summary}), nor does a video known to be good: {probe}"


def slow_message(losses: Losses) -> str:
    """Message for an egress whose resolves keep failing although its probe passed."""
    return (
        f"hardly any resolve brings a clip ({losses.summary}), though a video known to be good was there: only one "
        f"slot in 20 is used, and these segments stay pending. {_update()}"
    )


def outage_message(probe: str) -> str:
    """Message for an egress without a connection; `probe` is the probe's error."""
    return (
        "YouTube cannot be reached: look at the network, the proxy and DNS, and whether a portal wants a login. "
        f"The last probe: {probe}"
    )


def _update() -> str:
    try:
        version = version_in_use()
    except importlib.metadata.PackageNotFoundError:
        return "YouTube has probably changed: install yt-dlp"
    days = age_days(version)
    age = "" if days is None else f", {days} days old"
    return f"YouTube has probably changed: update yt-dlp (audioset-batch update-yt-dlp; this is {version}{age})"
