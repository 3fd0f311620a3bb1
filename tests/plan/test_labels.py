"""Labels by name or MID, with commas in names, and with what the ontology has below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.plan.labels import load_class_names, load_ontology, resolve_labels

NAMES = {
    "/m/09x0r": "Speech",
    "/m/05zppz": "Male speech, man speaking",
    "/m/0bt9lr": "Dog",
    "/m/05tny_": "Bark",
    "/m/0ytgt": "Child speech, kid speaking",
}


def test_names_and_mids_with_commas_in_names() -> None:
    assert resolve_labels("Dog,Male speech, man speaking,Speech", NAMES) == ("/m/0bt9lr", "/m/05zppz", "/m/09x0r")
    assert resolve_labels(" male  SPEECH,man speaking , /m/05tny_,dog,", NAMES) == (
        "/m/05zppz",
        "/m/05tny_",
        "/m/0bt9lr",
    )
    assert resolve_labels("Dog,Dog", NAMES) == ("/m/0bt9lr",)


def test_unknown_labels_are_answered_with_close_ones() -> None:
    with pytest.raises(UsageError, match=r"'Dogg': did you mean Dog.*'Male speech': did you mean .*Male speech, man"):
        resolve_labels("Dogg,Male speech", NAMES)
    with pytest.raises(UsageError, match="names no label"):
        resolve_labels(" , ", NAMES)


def test_class_file(tmp_path: Path) -> None:
    path = tmp_path / "class_labels_indices.csv"
    assert load_class_names(path) == {}
    path.write_text('index,mid,display_name\r\n0,/m/09x0r,"Speech"\r\n1,/m/05zppz,"Male speech, man speaking"\r\n')
    assert load_class_names(path) == {"/m/09x0r": "Speech", "/m/05zppz": "Male speech, man speaking"}
    for bad in ("<html>\n", "index,mid,display_name\n0,oops\n", "", "index,mid,display_name\n"):
        path.write_text(bad)
        with pytest.raises(InputRefused, match=r"class_labels_indices\.csv"):
            load_class_names(path)


def test_descendants(tmp_path: Path) -> None:
    path = tmp_path / "ontology.json"
    path.write_text('[{"id":"a","child_ids":["b","c"]},{"id":"b","child_ids":["d"]},{"id":"c","child_ids":["d","a"]}]')
    assert load_ontology(path).with_descendants(["a"]) == ("a", "b", "c", "d")
    assert load_ontology(path).with_descendants(["b"]) == ("b", "d")
    path.write_text("<html>")
    with pytest.raises(InputRefused, match="ontology"):
        load_ontology(path)
