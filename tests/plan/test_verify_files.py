"""Verifying many clips at once: in order, and a clip that kills its decoder costs no other its verdict."""

import concurrent.futures
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from audioset_batch.errors import StopEarly
from audioset_batch.plan import verify_files
from audioset_batch.plan.verify_files import FileCheck, Found, Verifier


def deadly_if_bad(found: Found) -> FileCheck:
    assert found.audio is not None
    if found.audio.name.startswith("bad"):
        os.kill(os.getpid(), signal.SIGKILL)
    return FileCheck({"audio_path": found.audio.name}, ())


def test_a_clip_that_kills_its_decoder_is_broken_and_the_others_have_verdicts() -> None:
    names = ["a.flac", "bad1.flac", "b.flac", "c.flac", "bad2.flac", "d.flac"]
    with Verifier(2, deadly_if_bad) as verifier:
        verdicts = list(verifier.verdicts(Found(Path(name), None) for name in names))
        again = list(verifier.verdicts([Found(Path("e.flac"), None)]))
    assert [one.columns.get("audio_path") for one in verdicts] == ["a.flac", None, "b.flac", "c.flac", None, "d.flac"]
    assert [one.broken for one in verdicts if one.broken] == [
        (("bad1.flac", "the decoder died of this clip"),),
        (("bad2.flac", "the decoder died of this clip"),),
    ]
    assert again[0].columns == {"audio_path": "e.flac"}, "goes on"


def stillborn(processes: int) -> concurrent.futures.ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(processes, spawn, initializer=os._exit, initargs=(1,))


def test_where_no_process_can_live_no_clip_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_files, "_pool", stillborn)
    with Verifier(2, deadly_if_bad) as verifier, pytest.raises(StopEarly, match="can live here"):
        list(verifier.verdicts([Found(Path("a.flac"), None)]))
