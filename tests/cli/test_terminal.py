"""What others have written is never sent to the terminal as it is."""

import logging

import pytest

from audioset_batch.cli import main
from audioset_batch.cli.log import log_to_stderr
from audioset_batch.layout import ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.status.segment import SegmentFacts
from audioset_batch.status.segment_text import describe
from audioset_batch.submit.checks.finding import ok
from audioset_batch.untrusted import visible_lines

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"


def harmless(text: str) -> bool:
    return all(character.isprintable() or character in "\n\N{REPLACEMENT CHARACTER}" for character in text)


def test_lines_stay_lines() -> None:
    assert visible_lines("a\n\tb") == "a\n        b"
    assert harmless(visible_lines(f"x\n{EVIL}\n"))


def test_log_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("audioset_batch")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        log_to_stderr(verbose=False)
        logger.warning("a name: %s", EVIL)
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    said = capsys.readouterr().err
    assert "a name" in said and harmless(said)


def test_complaints_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", f"/nowhere/{EVIL}"]) == 2
    said = capsys.readouterr().err
    assert "does not exist" in said and harmless(said)


def test_findings_of_check() -> None:
    assert harmless(ok("x", EVIL).text)


def test_rows_of_a_segment() -> None:
    row = {"status": f"failed{EVIL}", "reason": EVIL, "detail": f"a\n{EVIL}", "host": EVIL}
    shard = ShardId("eval_segments", 1)
    key = SegmentKey("eval_segments", "abcdefghijk", 0, 10_000)
    facts = SegmentFacts(key, shard, True, (("/m/x", EVIL),), "failed", EVIL, EVIL, (row,), ())
    assert harmless(describe(facts))
