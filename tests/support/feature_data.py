"""Small released-format trees for the tests of this folder."""

from __future__ import annotations

import io
import tarfile
from collections import defaultdict
from pathlib import Path

from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import batch_of_features
from audioset_batch.learn.features.sequence import serialize_record
from audioset_batch.learn.features.tfrecord import RecordWriter
from tests.support.synthetic_features import SyntheticFeatures


def clips(n: int = 60, seed: int = 1) -> FeatureSet:
    return SyntheticFeatures(seed=0, tail=0.5).sample(n, seed)


def shard_bytes(features: FeatureSet) -> dict[str, bytes]:
    """File name -> TFRecord bytes; fewer shards than the released set, so that most hold several records."""
    streams: dict[str, io.BytesIO] = defaultdict(io.BytesIO)
    for record in batch_of_features(features).records():
        RecordWriter(streams[record.video_id[0].lower() + "0"]).write(serialize_record(record))
    return {f"{name}.tfrecord": stream.getvalue() for name, stream in sorted(streams.items())}


def write_tree(root: Path, splits: dict[str, FeatureSet]) -> Path:
    folder = root / "audioset_v1_embeddings"
    for split, features in splits.items():
        (folder / split).mkdir(parents=True)
        for name, content in shard_bytes(features).items():
            (folder / split / name).write_bytes(content)
    return folder


def write_archive(path: Path, splits: dict[str, FeatureSet], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for split, features in splits.items():
            for name, content in shard_bytes(features).items():
                member = tarfile.TarInfo(f"audioset_v1_embeddings/{split}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def by_id(features: FeatureSet) -> FeatureSet:
    return features.select(features.video_ids.argsort())
