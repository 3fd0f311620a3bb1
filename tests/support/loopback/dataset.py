"""Segment lists in the released format, in the style of the real ones, and what the stand-in makes of them."""

import random
import string
from dataclasses import dataclass
from pathlib import Path

from audioset_batch.standin import Outcome

ALPHABET = string.ascii_letters + string.digits + "-_"
CLASSES = {f"/m/0{letter}{index}": f"Sound {letter}{index}" for index, letter in enumerate("abcdefgh")}

EXPECTED_REASON = {
    Outcome.REMOVED: "removed",
    Outcome.ACCOUNT_TERMINATED: "account_terminated",
    Outcome.NONEXISTENT: "nonexistent",
    Outcome.DOES_NOT_EXIST: "nonexistent",
    Outcome.PRIVATE: "private",
    Outcome.COPYRIGHT_CLAIM: "copyright",
    Outcome.COPYRIGHT_BLOCK: "copyright",
    Outcome.GEO_BLOCKED: "geo_blocked",
    Outcome.AGE: "login_required",
    Outcome.MEMBERS: "login_required",
    Outcome.PURCHASE: "login_required",
    Outcome.LIVE: "live",
    Outcome.UPCOMING: "live",
    Outcome.NO_AUDIO: "no_audio",
}
"""What the manifest has to say of each outcome."""

EXPECTED_FAILURE = {Outcome.NOT_AVAILABLE: "unrecognized", Outcome.NO_FORMATS: "no_usable_format"}
"""And of those that settle nothing: `failed` after one resolve in each run."""


@dataclass(frozen=True)
class Row:
    """One planned segment."""

    ytid: str
    start_ms: int
    end_ms: int
    labels: tuple[str, ...]

    @property
    def stem(self) -> str:
        return f"{self.ytid}_{self.start_ms}_{self.end_ms}"


def make_rows(count: int, seed: int = 0) -> list[Row]:
    """Rows like AudioSet's: starts mostly at multiples of ten seconds, some short, some ids with dashes in front."""
    rng = random.Random(seed)
    rows = {}
    while len(rows) < count:
        ytid = "".join(rng.choice(ALPHABET) for _ in range(11))
        if len(rows) % 25 == 0:
            ytid = "--" + ytid[2:]
        start = 10_000 * rng.randrange(5) if rng.random() < 0.8 else rng.randrange(50_000)
        length = 10_000 if rng.random() < 0.95 else rng.randrange(1_000, 10_000)
        rows[ytid] = Row(ytid, start, start + length, tuple(rng.sample(list(CLASSES), rng.randrange(1, 4))))
    return list(rows.values())


def write_lists(folder: Path, subsets: dict[str, list[Row]]) -> None:
    """Write the CSVs of the subsets and the class list, as released."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(CLASSES.items())]
    (folder / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *names]) + "\n")
    for subset, rows in subsets.items():
        lines = [
            "# Segments csv created Sun Mar  5 10:54:25 2017",
            f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels={len(CLASSES)}, num_positive_labels=1",
            "# YTID, start_seconds, end_seconds, positive_labels",
            *(
                f'{row.ytid}, {row.start_ms / 1000:.3f}, {row.end_ms / 1000:.3f}, "{",".join(row.labels)}"'
                for row in rows
            ),
        ]
        (folder / f"{subset}.csv").write_text("\n".join(lines) + "\n")
