"""Whether the yt-dlp of this process works: one clip from the stand-in, and one from YouTube where that is reachable.

A process of its own, which `update.run` starts with the new version handed on to it and the pickled config on its
standard input. Prints what it found, in its last
line why not; exit status 0 or 1.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import soundfile

from audioset_batch.config import Config
from audioset_batch.config.schema import Audio
from audioset_batch.errors import AudiosetBatchError, InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.model import Segment
from audioset_batch.standin import Catalog, Standin, Video, default_cache
from audioset_batch.standin.measure import NotLocatable, locate_audio
from audioset_batch.submit.checks.egress import NO_CLIP, check_ways_out
from audioset_batch.worker.make_clip import make_clip
from audioset_batch.youtube import versions as ytdlp_versions
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.options import parse_args
from audioset_batch.youtube.streams import ClientOptions, RequestContext

_SECONDS: Final = 120.0
_START_MS: Final = 12_000
_TOLERANCE_SECONDS: Final = 0.01
_VIDEO: Final = Video("updateproof", seconds=60.0)


def prove(config: Config) -> Iterator[str]:
    """What was tried and found well, one line each.

    Raises:
        InputRefused: something does not work; says what.
        AudiosetBatchError: so does everything else that a resolve or a clip raises.
    """
    _check_version()
    parse_args(config.youtube.args)
    with tempfile.TemporaryDirectory(prefix="audioset-batch-proof-") as folder:
        yield _clip_of_stand_in(Path(folder))
        yield _clip_of_youtube(config, Path(folder))


def _check_version() -> None:
    """Another yt-dlp, such as one on PYTHONPATH, would prove nothing."""
    came, expected = sys.modules["yt_dlp"].version.__version__, ytdlp_versions.version_in_use()
    if ytdlp_versions.order(came) != ytdlp_versions.order(expected):
        raise InputRefused(f"yt-dlp {came} was imported instead of {expected}: is PYTHONPATH set?")


def _clip_of_stand_in(folder: Path) -> str:
    segment = Segment("proof", _VIDEO.ytid, _START_MS, _START_MS + 10_000, ())
    config = Config(audio=Audio(sample_rate="keep"))
    with Standin(Catalog.of(_VIDEO), default_cache()) as youtube:
        args = (*youtube.access().ytdlp_args, "--no-cache-dir")
        client = YtDlpClient(ClientOptions(args=args))
        clip = make_clip(segment, client, config, folder / "clip", RequestContext(time.monotonic() + _SECONDS))
    samples, rate = soundfile.read(clip.audio, dtype="float32", always_2d=True)
    try:
        began = locate_audio(samples[:, 0], rate)
    except NotLocatable as error:
        raise InputRefused(f"the stand-in's clip is not what was asked for: {error}") from error
    if abs(began - _START_MS / 1000) > _TOLERANCE_SECONDS:
        raise InputRefused(f"the stand-in's clip begins at {began:.3f} s, expected {_START_MS / 1000:g} s")
    return "a clip of the stand-in is right"


def _clip_of_youtube(config: Config, folder: Path) -> str:
    """One probe clip through the first egress that has a network. Its budget and its pauses hold."""
    said = "no network"
    # Without a data directory nobody shares the budgets: a folder that is not there.
    data = DataDir(folder / "no data" if config.data_dir is None else config.data_dir)
    for found in check_ways_out(config, data):
        if not found.topic.startswith("probe"):
            said = found.text if found.level == "error" else said
        elif found.level == "ok":
            return f"a clip of YouTube is right ({found.text})"
        elif found.text.startswith(NO_CLIP):
            raise InputRefused(f"{found.topic}: {found.text}")
        else:
            said = found.text  # paused, blocked, or its budget is spent: nothing against this yt-dlp
    return f"YouTube was not asked: {said}"


def main() -> int:
    """Prove; returns the exit status."""
    config: Config = pickle.load(sys.stdin.buffer)
    try:
        print(f"yt-dlp {ytdlp_versions.version_in_use()}")  # noqa: T201
        for line in prove(config):
            print(line, flush=True)  # noqa: T201
    except AudiosetBatchError as error:
        print(error)  # noqa: T201
        return 1
    except Exception as error:  # noqa: BLE001 - a new yt-dlp may break in any way
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
