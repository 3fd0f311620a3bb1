"""`audioset-batch demo --learn`, with fewer clips, and its page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest

from audioset_batch.demo.learn import CLASSES, chance_level, run_learning_demo
from audioset_batch.demo.learn_report import write_report
from audioset_batch.standin.sounds import KINDS
from tests.support.report_data import learning_material

CHECKOUT = Path(__file__).resolve().parents[2]


class References(HTMLParser):
    """What a page takes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def well_formed(page: str) -> References:
    references = References()
    references.feed(page)
    assert not references.open
    return references


def test_the_page_stands_alone_and_says_what_random_weights_mean(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", learning_material(tmp_path))
    page = (tmp_path / "page.html").read_text()
    references = well_formed(page)
    assert references.found and all(value.startswith("#") for value in references.found)
    assert "weights are random" in page and "compare with nothing" in page
    assert "0.500" in page and "0.250" in page and "unbounded" in page
    assert "Tick &amp; &lt;tock&gt;" in page and "<tock>" not in page
    assert "Hum 0.90 ✓, Tick &amp; &lt;tock&gt; 0.10 ✗" in page
    assert page.count("<circle") - page.count('<circle class="p-mark"') == 3, "every point of both curves"
    assert "keras " in page and "Python " in page


def test_chance_is_the_mean_share_over_the_classes_in_use() -> None:
    labels = [("a",), ("a", "b"), ("a",), ("b",)]
    assert chance_level(labels, ["a", "b", "unused"]) == pytest.approx((0.75 + 0.5) / 2)


def test_every_kind_of_sound_is_a_class() -> None:
    assert sorted(CLASSES) == sorted(KINDS)
    assert len(set(CLASSES.values())) == len(KINDS)


def running() -> Iterator[str]:
    """The command lines of all processes; a minimal machine has no `ps`."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone meanwhile
            yield path.read_text(errors="replace")


@pytest.mark.slow
def test_it_learns_what_the_sounds_are(tmp_path: Path) -> None:
    said: list[str] = []
    clips = {"eval_segments": 24, "balanced_train_segments": 64}
    config = CHECKOUT / "configs" / "demo.yaml"
    result = run_learning_demo(tmp_path / "demo", config, said.append, slurm=False, clips=clips)
    assert result.merged.finished and not result.merged.differences
    assert result.merged.summary["totals"]["planned"] == 88
    assert result.chance < 0.3 < 0.6 < result.evaluation["map"] and result.learned
    assert [line.split(":")[0] for line in said] == ["1. download", "2. embed", "3. train", "4. evaluate"]
    page = result.report.read_text()
    well_formed(page)
    assert f"{result.evaluation['map']:.3f}" in page and f"{result.chance:.3f}" in page
    sidecar = json.loads(next((tmp_path / "demo" / "data" / "embeddings").glob("embed.*.json")).read_text())
    assert "random weights" in sidecar["weights"]
    assert re.search(r"audioset-batch \d", page)
    assert not [command for command in running() if str(tmp_path) in command], "something is left running"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    command = [sys.executable, "-m", "audioset_batch", "demo", "--learn", "--no-slurm", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no demo made it" in done.stderr, done.stderr
    assert (tmp_path / "thesis.txt").exists()
