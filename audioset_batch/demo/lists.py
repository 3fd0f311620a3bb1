"""Made-up segment lists in the released format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MadeUpSegment:
    """One row: times in whole seconds, labels as MIDs."""

    ytid: str
    start: int
    end: int
    labels: tuple[str, ...]


def write_lists(
    source: Path, classes: Sequence[tuple[str, str]], subsets: Mapping[str, Sequence[MadeUpSegment]]
) -> None:
    """Write class_labels_indices.csv and one CSV per subset into `source`, a new folder.

    Args:
        source: Folder for `prep --base-url`.
        classes: (MID, name) by index.
        subsets: The rows of each subset.
    """
    source.mkdir()
    lines = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(classes)]
    (source / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *lines]) + "\n")
    for subset, rows in subsets.items():
        text = [
            "# Segments csv made up for the demo",
            f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels={len(classes)}",
            "# YTID, start_seconds, end_seconds, positive_labels",
            *(f'{row.ytid}, {row.start}.000, {row.end}.000, "{",".join(row.labels)}"' for row in rows),
        ]
        (source / f"{subset}.csv").write_text("\n".join(text) + "\n")
