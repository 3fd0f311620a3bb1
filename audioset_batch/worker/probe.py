"""Probe an egress with a video known to be good: its streams must be found, and their bytes must arrive."""

from __future__ import annotations

import contextlib
from typing import Final

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.readers.demux import UnexpectedLayout
from audioset_batch.media.readers.hls import SegmentedSource
from audioset_batch.worker.make_clip import MAX_FALLBACKS, TRY_NEXT_FORMAT, wait_for_ads
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import RequestContext

_BYTES: Final = 64 * 1024


def probe_media(ytid: str, client: YtDlpClient, context: RequestContext) -> None:
    """Resolve a video and read the beginning of its media, as `make_clip` would: media may be refused separately.

    No clip is made: a problem of this node, such as missing software, must not close the egress for all tasks.

    Args:
        ytid: The video.
        client: The client of this thread.
        context: Limits of the attempt.

    Raises:
        SlotExpired, EgressBlocked, SegmentUnavailable, SegmentTransient: as `make_clip`.
    """
    resolved = client.resolve(ytid, context)
    wait_for_ads(resolved, context)
    for left in reversed(range(1 + MAX_FALLBACKS)):
        stream = resolved.audio or resolved.video
        if stream is None:
            return
        source = client.open(stream, context)
        try:
            if isinstance(source, SegmentedSource):
                with contextlib.suppress(UnexpectedLayout):
                    source.media()
            else:
                source.read(0, _BYTES)
            return
        except SegmentTransient as error:
            following = resolved.without(stream) if left and error.reason in TRY_NEXT_FORMAT else None
            if following is None:
                raise
            resolved = following
