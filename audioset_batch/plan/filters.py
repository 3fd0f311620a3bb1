"""Which rows of the CSVs become the plan: by label, by number, by chance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.plan.table import SegmentTable


@dataclass(frozen=True, slots=True)
class Filters:
    """What to keep of each subset, applied in this order.

    Attributes:
        mids: Rows with at least one of these labels; empty: all rows.
        limit: At most this many rows from the beginning.
        sample: At most this many rows by chance, in the order of the CSV.
        seed: Decides the sample; the same seed and rows give the same sample everywhere.
        wording: How the user named the labels.
    """

    mids: tuple[str, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    wording: str = ""

    def apply(self, table: SegmentTable) -> SegmentTable:
        """The rows that pass."""
        if self.mids:
            split = pc.split_pattern(table.labels, ",")
            wanted = pc.is_in(pc.list_flatten(split), pa.array(self.mids, type=pa.string()))
            mask = np.zeros(len(table), dtype=np.bool_)
            mask[pc.list_parent_indices(split).filter(wanted).to_numpy(zero_copy_only=False)] = True
            table = table.take(mask)
        if self.limit is not None and self.limit < len(table):
            table = table.take(np.arange(self.limit))
        if self.sample is not None and self.sample < len(table):
            entropy = hashlib.sha256(f"{self.seed}:{table.subset}".encode()).digest()
            chance = np.random.Generator(np.random.PCG64(int.from_bytes(entropy[:8], "big")))
            table = table.take(np.sort(chance.permutation(len(table))[: self.sample]))
        return table

    def describe(self) -> str:
        """The filters in words; empty if there are none."""
        words = []
        if self.mids:
            words.append(f"labels {self.wording or ','.join(self.mids)}")
        if self.limit is not None:
            words.append(f"limit {self.limit}")
        if self.sample is not None:
            words.append(f"sample {self.sample} seed {self.seed}")
        return "; ".join(words)
