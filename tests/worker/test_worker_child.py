"""What a try leaves behind and what it tells, without processes."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.config import Config
from audioset_batch.errors import SegmentTransient
from audioset_batch.model import Segment
from audioset_batch.reasons import Reason
from audioset_batch.worker import child
from audioset_batch.worker import pool as pool_module
from audioset_batch.worker.messages import AttemptResult, Job, WaitNotice
from audioset_batch.youtube.streams import RequestContext

SEGMENT = Segment("eval_segments", "abcdefghijk", 0, 10_000, ("/m/09x0r",))


def test_a_try_in_vain_leaves_no_file_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_late(segment: Segment, client: Any, config: Config, stem: Path, context: RequestContext) -> None:
        for ending in (config.audio.format, config.video.format):
            stem.with_name(f"{stem.name}.{ending}").write_bytes(b"half")
        raise SegmentTransient(Reason.INTERNAL, "Failed to parse: https://user:s3cret@host:99999")

    monkeypatch.setattr(child, "make_clip", fails_late)
    (tmp_path / "8.flac").write_bytes(b"of another job")
    attempt = child.run_job(Job(7, SEGMENT, "", 0, tmp_path, 60.0), {}, Config())
    assert attempt.result is AttemptResult.TRANSIENT
    assert attempt.detail == "Failed to parse: https://***@host:99999"
    assert [path.name for path in tmp_path.iterdir()] == ["8.flac"]


def test_a_try_that_waits_for_an_ad_says_so_and_gets_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(segment: Segment, client: Any, config: Config, stem: Path, context: RequestContext) -> None:
        context.on_wait(100.0)
        raise SegmentTransient(Reason.TIMEOUT, "")

    monkeypatch.setattr(child, "make_clip", waits)
    said: list[WaitNotice] = []
    child.run_job(Job(7, SEGMENT, "", 0, tmp_path, 60.0), {}, Config(), said.append)
    assert said == [WaitNotice(7, 100.0)]

    pool = pool_module.Pool(Config(), 1, 1)
    ours, theirs = multiprocessing.Pipe()
    running = pool_module._Running(Job(7, None, "", 0, tmp_path, 60.0), False, time.monotonic() - 1)
    pool._processes[0] = pool_module._Process(None, ours, True, {7: running})  # type: ignore[arg-type]
    theirs.send(said[0])
    assert list(pool.wait(5)) == [], "overdue without those 100 s"
    assert pool.in_flight
