"""`docs/notebook.ipynb` runs from top to bottom, and is kept without outputs."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from audioset_batch.standin import Catalog, Standin
from tests.support.loopback import Project, make_rows

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.fixture
def downloaded(tmp_path: Path, media_cache: Path) -> Iterator[Path]:
    """A data directory that the real commands filled from the stand-in: mono 16 kHz, a quarter unavailable."""
    rows = make_rows(12, seed=3)
    catalog = Catalog.from_ids(
        {row.ytid: row.end_ms / 1000 for row in rows}, seed=3, unavailable_share=0.25, seconds=(60.0,), itags=(140,)
    )
    with Standin(catalog, media_cache) as youtube:
        audio = {"sample_rate": 16000, "channels": 1}
        project = Project(tmp_path, {"eval_segments": rows}, youtube, {"audio": audio})
        project.prep(1)
        project.worker(1)
        project.merge()
        yield project.data


def test_runs_on_what_was_downloaded(downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADIR", str(downloaded))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = {kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= shown, "tables and the spectrograms"
    streams = [o.text for cell in notebook.cells for o in cell.get("outputs", ()) if o.output_type == "stream"]
    assert "(1, 160000) float32" in "".join(streams)


def test_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    dirty = [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count") is not None]
    assert not dirty, "clear all outputs of the notebook before you commit it"
