"""Synthesised files, made once per test session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audioset_batch.standin.synth import SourceSpec, synthesise
from tests.support.media_data import encode_audio_file

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "5000000"}


@pytest.fixture(scope="session")
def youtube(media_cache: Path) -> Callable[..., Path]:
    """A file in YouTube's layout: `youtube(itag, seconds)`."""
    return lambda itag, seconds=65.3, **more: synthesise(media_cache, SourceSpec(itag, seconds, **more))


@pytest.fixture(scope="session")
def other_layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files whose index is missing or elsewhere, by what is odd about them."""
    folder = tmp_path_factory.mktemp("other")
    made = {
        "no cues": ("a.webm", "libopus", "webm", {"live": "1"}),
        "cues at the end": ("b.webm", "libopus", "webm", {}),
        "no sidx": ("c.m4a", "aac", "mp4", FRAGMENTS),
        "moov at the end": ("d.m4a", "aac", "mp4", {}),
        "opus in mp4": ("e.mp4", "libopus", "mp4", {"movflags": "dash+delay_moov+global_sidx"}),
    }
    return {
        what: encode_audio_file(folder / name, codec, 25.3, container, **options)
        for what, (name, codec, container, options) in made.items()
    }
