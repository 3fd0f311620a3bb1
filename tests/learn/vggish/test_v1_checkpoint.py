"""The V1 reader on a file that TensorFlow 2.21 wrote, and on damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audioset_batch.errors import InputRefused
from audioset_batch.learn.vggish.checkpoint import is_v1_checkpoint, read_v1_checkpoint
from tests.support.vggish_v1_writer import write_v1

TENSORFLOW = Path(__file__).parent / "data" / "tensorflow_v1.ckpt"


def arrays_in_tensorflow_file() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "net/conv/weights": rng.standard_normal((3, 3, 2, 5)).astype(np.float32),
        "net/conv/biases": np.arange(5, dtype=np.float32),
        "net/fc/weights": rng.standard_normal((7, 11)).astype(np.float32),
        "scalar": np.float32(3.5),
        "empty": np.zeros((0, 3), np.float32),
    }


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].shape == array.shape and got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], array)


def test_file_written_by_tensorflow():
    assert is_v1_checkpoint(TENSORFLOW)
    assert_same(read_v1_checkpoint(TENSORFLOW), arrays_in_tensorflow_file())


def test_only_the_names_asked_for():
    got = read_v1_checkpoint(TENSORFLOW, ["net/fc/weights", "absent"])
    assert_same(got, {"net/fc/weights": arrays_in_tensorflow_file()["net/fc/weights"]})


def test_other_data_type_is_refused_when_asked_for():
    with pytest.raises(InputRefused, match="global_step has data type 9"):
        read_v1_checkpoint(TENSORFLOW, ["global_step"])


@pytest.mark.parametrize("per_block", [1, 2, 100])
def test_blocks_and_shared_prefixes(tmp_path: Path, per_block: int):
    rng = np.random.default_rng(1)
    names = ["a", "a/b", "a/b/weights", "a/b/weights_2", "z"]
    arrays = {name: rng.standard_normal((2, 3)).astype(np.float32) for name in names}
    write_v1(tmp_path / "x.ckpt", arrays, per_block=per_block)
    assert_same(read_v1_checkpoint(tmp_path / "x.ckpt"), arrays)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"compression": 1}, "compressed"), ({"sliced": True}, "slices"), ({"dtype": 2}, "data type 2")],
)
def test_what_it_cannot_read_is_named(tmp_path: Path, options: dict[str, int], text: str):
    write_v1(tmp_path / "x.ckpt", {"a": np.ones((2, 2), np.float32)}, **options)
    with pytest.raises(InputRefused, match=text):
        read_v1_checkpoint(tmp_path / "x.ckpt", ["a"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_changed_byte_is_noticed(tmp_path: Path, data: st.DataObject):
    content = bytearray(TENSORFLOW.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    try:
        # The metaindex and the padding of the footer are never used.
        assert_same(read_v1_checkpoint(path), arrays_in_tensorflow_file())
    except InputRefused as error:
        assert str(path) in str(error)
    else:
        assert at > len(content) - 200


@settings(deadline=None)
@given(st.integers(0, TENSORFLOW.stat().st_size - 1))
def test_truncation_is_noticed(tmp_path_factory: pytest.TempPathFactory, size: int):
    path = tmp_path_factory.getbasetemp() / "cut.ckpt"
    path.write_bytes(TENSORFLOW.read_bytes()[:size])
    with pytest.raises(InputRefused, match="truncated"):
        read_v1_checkpoint(path)
