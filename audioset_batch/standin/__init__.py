"""A stand-in for YouTube on 127.0.0.1, on which unmodified yt-dlp runs.

    with Standin(Catalog.of(Video("AAAAAAAAAAA", seconds=60)), cache) as youtube:
        yt_dlp.YoutubeDL(youtube.access().ytdlp_options).extract_info("https://www.youtube.com/watch?v=AAAAAAAAAAA")

The content of its media tells its own time: `measure.locate_audio` says where in the source a clip was cut. As a
process of its own: `python -m audioset_batch.standin`, switched by a `ControlClient`.
"""

from audioset_batch.standin.catalog import Catalog, Lock, Outcome, Video
from audioset_batch.standin.control import ControlClient, ControlError
from audioset_batch.standin.faults import Allowance, Block, Fault, Outage, Trouble, Where
from audioset_batch.standin.library import default_cache
from audioset_batch.standin.options import Access
from audioset_batch.standin.server import Standin
from audioset_batch.standin.tracks import AudioTrack, TrackKind, dubbed

__all__ = [
    "Access",
    "Allowance",
    "AudioTrack",
    "Block",
    "Catalog",
    "ControlClient",
    "ControlError",
    "Fault",
    "Lock",
    "Outage",
    "Outcome",
    "Standin",
    "TrackKind",
    "Trouble",
    "Video",
    "Where",
    "default_cache",
    "dubbed",
]
