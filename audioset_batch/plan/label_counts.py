"""How often each label occurs in the whole plan of a subset: what makes a label rare for all of its shards alike."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.publish import atomic_write_json, storage

_HEADER: Final = re.compile(rb"^#[^\n]*", re.MULTILINE)
_MID: Final = re.compile(rb"/[a-z]/[0-9A-Za-z_]+")
"""No other column holds a slash, so rows need not be taken apart."""


def label_counts(data: DataDir, subset: str) -> Mapping[str, int]:
    """Segments by label, over all shards of `subset`.

    The first worker reads the shards and notes the sums in `state/`; later ones read these as long as the shards are
    the same in number and size. Splitting again removes them.

    Raises:
        StorageUnusable: a shard cannot be read, or the sums cannot be written.
    """
    path = data.label_counts(subset)
    with storage(data.root):
        shards = [data.shard_csv(shard) for shard in data.shards(subset)]
        made_of = {"shards": len(shards), "bytes": sum(shard.stat().st_size for shard in shards)}
        noted = _noted(path, made_of)
        if noted is not None:
            return noted
        counts = _count(shards)
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(path, {**made_of, "labels": dict(counts.most_common())})
    return counts


def _noted(path: Path, made_of: Mapping[str, int]) -> dict[str, int] | None:
    try:
        values = json.loads(path.read_bytes())
        if {key: values[key] for key in made_of} == made_of:
            return {str(label): int(count) for label, count in values["labels"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or not what was noted: then they are counted
    return None


def _count(shards: Sequence[Path]) -> Counter[str]:
    counts: Counter[bytes] = Counter()
    for shard in shards:
        counts.update(_MID.findall(_HEADER.sub(b"", shard.read_bytes())))
    return Counter({label.decode(): count for label, count in counts.items()})
