"""Exports that meet a split of their source, or a clip that was reset in their target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.errors import PlanChanging
from audioset_batch.export import layouts
from audioset_batch.export.layouts import export_layout
from audioset_batch.export.parquet import export_parquet
from audioset_batch.export.unavailable import export_unavailable
from audioset_batch.layout import DataDir
from audioset_batch.merge import merge
from audioset_batch.plan.retry import Choice, reset
from audioset_batch.plan.swap import splitting

EXPORTS: list[Callable[[Path, Path], object]] = [
    lambda source, to: export_layout(source, to, "files", tar_bytes=10**9),
    lambda source, to: export_layout(source, to, "webdataset", tar_bytes=10**9),
    lambda source, to: export_parquet(source, to, file_bytes=10**9),
    lambda source, to: export_unavailable(source, to.with_name("gone.jsonl")),
]


@pytest.mark.parametrize("export", EXPORTS)
def test_none_begins_while_prep_splits(unmerged: Path, tmp_path: Path, export: Callable[[Path, Path], object]) -> None:
    with splitting(DataDir(unmerged)), pytest.raises(PlanChanging, match="is splitting"):
        export(unmerged, tmp_path / "out")
    export(unmerged, tmp_path / "out")


def test_a_split_meanwhile_ends_it(unmerged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = layouts.checked_files

    def split_meanwhile(*argv: Any) -> Any:
        with splitting(DataDir(unmerged)):
            return real(*argv)

    monkeypatch.setattr(layouts, "checked_files", split_meanwhile)
    with pytest.raises(PlanChanging, match="has split"):
        export_layout(unmerged, tmp_path / "out", "files", tar_bytes=10**9)


@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_a_clip_that_was_reset_in_the_target_is_exported_again(
    unmerged: Path, tmp_path: Path, layout: layouts.Layout
) -> None:
    target = tmp_path / "out"
    assert export_layout(unmerged, target, layout, tar_bytes=10**9).clips == 4
    reset(DataDir(target), Choice(statuses=("ok",), ytids=("dogandcat16",)))
    assert merge(target).summary["totals"]["ok"] == 3
    again = export_layout(unmerged, target, layout, tar_bytes=10**9)
    assert (again.clips, again.present) == (1, 3)
    assert merge(target).summary["totals"]["ok"] == 4
