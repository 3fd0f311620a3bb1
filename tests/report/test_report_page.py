"""The page as text: what comes from outside is escaped, nothing is fetched, the ontology is taken as it is found."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from audioset_batch.errors import InputRefused
from audioset_batch.merge import merge
from audioset_batch.report import write_report
from audioset_batch.report.ontology import load_tree
from tests.support.report_data import CLASSES, HOSTILE, hostile_dataset, plan, write_dataset


class Elements(HTMLParser):
    """Counts elements and looks for what could run or load."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: list[str] = []
        self.words: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("src", "href", "xlink:href", "action") and not (value or "").startswith("#"):
                self.loads.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_markup_from_outside_stays_text(tmp_path: Path) -> None:
    data = hostile_dataset(tmp_path / "data")
    path, _, _ = write_report(data.root)
    found = Elements(path.read_text())
    assert found.names.count("script") == 1
    assert found.names.count("style") == 1
    assert "img" not in found.names
    assert not found.handlers
    assert not found.loads
    assert any(HOSTILE in word for word in found.words), "it is shown, as text"


def test_nothing_is_loaded_and_only_our_script_may_run(merged: Path) -> None:
    page = write_report(merged)[0].read_text()
    found = Elements(page)
    assert not found.loads
    assert not re.findall(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", page)
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_all_classes_are_rows(merged: Path) -> None:
    page = write_report(merged)[0].read_text()
    assert len(re.findall(r"<tr[^>]* data-ok=", page)) == len(CLASSES)
    tree = page.partition('id="label-tree"')[2]
    assert all(f"<b>{name}</b>" in tree for name in CLASSES.values())


def test_without_the_ontology_it_says_how_to_get_it(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", {"eval_segments": plan(20, 3, list(CLASSES))})
    merge(data.root)
    page = write_report(data.root)[0].read_text()
    assert "audioset/ontology" in page
    assert 'id="view-tree" aria-pressed="false" disabled' in page


def test_an_ontology_that_runs_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "ontology.json"
    nodes = [{"id": "a", "name": "A", "child_ids": ["b"]}, {"id": "b", "name": "B", "child_ids": ["c", "gone"]}]
    path.write_text(json.dumps([*nodes, {"id": "c", "name": "C", "child_ids": ["b"]}]))
    tree = load_tree(path)
    assert tree is not None
    assert [list(root.below()) for root in tree] == [["a", "b", "c"]]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"id": "a"}]', "{}x", "[" * 100_000])
def test_something_else_under_the_name_of_the_ontology(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ontology.json"
    path.write_text(text)
    with pytest.raises(InputRefused, match=r"ontology\.json: expected the AudioSet ontology"):
        load_tree(path)
