"""From per-shard manifests to one table in which every planned segment has exactly one row."""

from audioset_batch.merge.run import MergeResult, merge

__all__ = ["MergeResult", "merge"]
