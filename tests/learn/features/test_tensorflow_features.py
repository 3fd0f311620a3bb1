"""Development only: our records against TensorFlow's own writer, reader and parser.

TensorFlow is no dependency of this project. To run this, install it beside the test requirements:
`pip install tensorflow-cpu && pytest tests/crosscheck`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import batch_of_features
from audioset_batch.learn.features.convert import convert
from audioset_batch.learn.features.reading import iter_records, read_split
from audioset_batch.learn.features.sequence import Record, serialize_record
from audioset_batch.learn.features.tfrecord import RecordWriter
from tests.support.synthetic_features import SyntheticFeatures

tf = pytest.importorskip("tensorflow", reason="DEVELOPMENT CHECK NOT RUN: tensorflow is not installed")

RECORDS = 2000


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return SyntheticFeatures(tail=0.5).sample(RECORDS, seed=3)


def tensorflow_example(record: Record) -> bytes:
    def floats(value: float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    context = tf.train.Features(
        feature={
            "video_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[record.video_id.encode()])),
            "start_time_seconds": floats(record.start),
            "end_time_seconds": floats(record.end),
            "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=record.labels)),
        }
    )
    rows = tf.train.FeatureList(
        feature=[tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])) for row in record.embedding]
    )
    lists = tf.train.FeatureLists(feature_list={"audio_embedding": rows})
    return tf.train.SequenceExample(context=context, feature_lists=lists).SerializeToString()


def assert_equal(one: Record, other: Record) -> None:
    assert (one.video_id, one.start, one.end, one.labels) == (other.video_id, other.start, other.end, other.labels)
    assert np.array_equal(one.embedding, other.embedding)


def test_we_read_what_tensorflow_wrote(tmp_path: Path, features: FeatureSet) -> None:
    folder = tmp_path / "eval"
    folder.mkdir()
    originals = list(batch_of_features(features).records())
    with tf.io.TFRecordWriter(str(folder / "aa.tfrecord")) as writer:
        for record in originals:
            writer.write(tensorflow_example(record))
    read = list(iter_records(folder / "aa.tfrecord"))
    assert len(read) == RECORDS
    for one, other in zip(read, originals, strict=True):
        assert_equal(one, other)
    converted = convert(tmp_path, tmp_path / "out", splits=("eval",))
    assert converted.rows == {"eval": RECORDS}
    packed = read_split(tmp_path / "out", "eval")
    for name in ("embeddings", "lengths", "labels", "video_ids", "start", "end"):
        assert np.array_equal(getattr(packed, name), getattr(features, name)), name


def test_tensorflow_reads_and_parses_what_we_wrote(tmp_path: Path, features: FeatureSet) -> None:
    originals = list(batch_of_features(features).records())
    path = tmp_path / "ours.tfrecord"
    with path.open("wb") as stream:
        writer = RecordWriter(stream)
        for record in originals:
            writer.write(serialize_record(record))
    count = 0
    # TFRecordDataset checks both checksums and fails on a wrong one.
    for raw, record in zip(tf.data.TFRecordDataset(str(path)), originals, strict=True):
        context, lists = tf.io.parse_single_sequence_example(
            raw,
            context_features={
                "video_id": tf.io.FixedLenFeature([], tf.string),
                "start_time_seconds": tf.io.FixedLenFeature([], tf.float32),
                "end_time_seconds": tf.io.FixedLenFeature([], tf.float32),
                "labels": tf.io.VarLenFeature(tf.int64),
            },
            sequence_features={"audio_embedding": tf.io.FixedLenSequenceFeature([], tf.string)},
        )
        assert context["video_id"].numpy().decode() == record.video_id
        assert context["start_time_seconds"].numpy() == np.float32(record.start)
        assert context["end_time_seconds"].numpy() == np.float32(record.end)
        assert tuple(context["labels"].values.numpy().tolist()) == record.labels
        decoded = tf.io.decode_raw(lists["audio_embedding"], tf.uint8).numpy()
        assert np.array_equal(decoded, record.embedding)
        count += 1
    assert count == RECORDS


def test_both_find_the_same_damage(tmp_path: Path, features: FeatureSet) -> None:
    payloads = [serialize_record(record) for record in batch_of_features(features.select(slice(0, 3))).records()]
    path = tmp_path / "damaged.tfrecord"
    for where in (3, 9, 200, len(payloads[0]) + 14):
        with path.open("wb") as stream:
            writer = RecordWriter(stream)
            for payload in payloads:
                writer.write(payload)
        data = bytearray(path.read_bytes())
        data[where] ^= 1
        path.write_bytes(data)
        with pytest.raises(tf.errors.DataLossError):
            list(tf.data.TFRecordDataset(str(path)))
        seen = []
        assert len(list(iter_records(path, seen.append))) == 2
        assert [damage.offset for damage in seen] == [0]
