"""The benchmark's own instruments: what they count, and what they write."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
TREE = f"""
import os, subprocess, sys
block = bytearray(os.urandom(1 << 20) * 64)
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
subprocess.run(["sh", "-c", 'nohup "$0" -c "$1" >/dev/null 2>&1 &', sys.executable, {BURN!r}], check=True)
sys.exit(3)
"""


def test_all_processes_are_counted_orphans_too(tmp_path: Path) -> None:
    from measure import run_measured

    usage = run_measured([sys.executable, "-c", TREE], os.environ, tmp_path, tmp_path / "log")
    assert usage.status == 3
    assert 0.8 <= usage.cpu < 4
    assert 64e6 < usage.peak_pss < 300e6
    assert usage.peak_rss >= usage.peak_pss


def test_a_run_without_end_is_ended(tmp_path: Path) -> None:
    from measure import run_measured

    with pytest.raises(RuntimeError, match="not measured"):
        run_measured(["sleep", "60"], os.environ, tmp_path, tmp_path / "log", limit=0.5)


def test_the_mix_is_fixed_and_in_equal_parts() -> None:
    from workload import CLIP_SECONDS, make_clips

    clips = make_clips(200)
    assert clips == make_clips(200)
    assert sorted(Counter(clip.length for clip in clips).values()) == [66, 67, 67]
    assert len({clip.ytid for clip in clips}) == 200
    assert all(0 <= clip.start <= clip.length - CLIP_SECONDS for clip in clips)


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    from table import replace_between_markers

    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\n## Other\n")
    replace_between_markers(page, "new\n", "a")
    assert page.read_text() == "# Title\n\n<!-- a:begin -->\nnew\n<!-- a:end -->\n\n## Other\n"
    replace_between_markers(page, "more", "b")
    assert page.read_text().endswith("## Other\n\n<!-- b:begin -->\nmore\n<!-- b:end -->\n")
