"""The Keras model against the definition, written in numpy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.vggish import weights as weights_module
from audioset_batch.learn.vggish.engine import Engine
from audioset_batch.learn.vggish.network import Network, build_model
from audioset_batch.learn.vggish.smoke import smoke_test
from audioset_batch.learn.vggish.variables import SHAPES, checked
from audioset_batch.learn.vggish.weights import default_weights_dir, from_torch, load_weights, random_weights


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width, _ = x.shape
    total = sum(
        padded[i : i + height, j : j + width] @ kernel[i, j].astype(np.float64) for i in range(3) for j in range(3)
    )
    return np.maximum(total + bias, 0)


def pool(x: np.ndarray) -> np.ndarray:
    height, width, channels = x.shape
    return x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))


def reference(example: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """One example, (96, 64), in float64."""
    x = example[:, :, None].astype(np.float64)
    for layers in (["conv1"], ["conv2"], ["conv3/conv3_1", "conv3/conv3_2"], ["conv4/conv4_1", "conv4/conv4_2"]):
        for layer in layers:
            x = convolve(x, arrays[f"vggish/{layer}/weights"], arrays[f"vggish/{layer}/biases"])
        x = pool(x)
    x = x.reshape(-1)
    for layer in ("fc1/fc1_1", "fc1/fc1_2", "fc2"):
        x = x @ arrays[f"vggish/{layer}/weights"] + arrays[f"vggish/{layer}/biases"]
        x = x if layer == "fc2" else np.maximum(x, 0)
    return x


def some_examples(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(-3.4, 2.1, (count, 96, 64)).astype(np.float32)


def test_eighteen_variables():
    assert len(SHAPES) == 18
    assert sum(int(np.prod(shape)) for shape in SHAPES.values()) == 72_141_184
    assert [w.shape for w in build_model().weights] == list(SHAPES.values())


def test_agrees_with_the_definition(engine: Engine):
    batch = some_examples(2)
    expected = np.array([reference(example, engine.weights.arrays) for example in batch])
    got = engine.network.embed(batch)
    assert (expected < 0).any(), "the last layer must have no ReLU, and this shows it"
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * expected.std())


def test_batches_of_any_size_give_the_same(engine: Engine):
    batch = some_examples(19)
    whole = engine.network.embed(batch)
    single = np.concatenate([engine.network.embed(batch[i : i + 1]) for i in range(0, 19, 6)])
    np.testing.assert_allclose(single, whole[::6], rtol=0, atol=1e-4 * whole.std())
    assert engine.network.embed(batch[:0]).shape == (0, 128)


def test_final_relu(engine: Engine):
    batch = some_examples(1)
    clipped = Network(engine.weights, 1, final_relu=True).embed(batch)
    np.testing.assert_allclose(clipped, np.maximum(engine.network.embed(batch), 0), rtol=1e-4, atol=1e-3)


def test_smoke_test_fails_on_random_weights(engine: Engine):
    checks = smoke_test(engine)
    assert [check.name for check in checks] == ["raw mean", "raw std", "quantized mean", "quantized std"]
    assert not all(check.passed for check in checks)


def test_random_engine_keeps_sounds_apart(engine: Engine):
    from audioset_batch.learn.vggish.frontend import examples

    time = np.arange(16000) / 16000
    rows = engine.pca.postprocess(
        engine.network.embed(np.concatenate([examples(0.5 * np.sin(2 * np.pi * f * time)) for f in (300, 310, 3000)]))
    ).astype(int)
    assert len(np.unique(rows)) > 50
    assert np.abs(rows[0] - rows[1]).mean() < np.abs(rows[0] - rows[2]).mean() / 2


def test_torch_layout(engine: Engine):
    arrays = engine.weights.arrays
    tensors = {}
    names = list(SHAPES)[::2]
    for layer, name in zip(
        [f"features.{i}" for i in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{i}" for i in (0, 2, 4)], names, strict=True
    ):
        kernel = arrays[name]
        tensors[f"{layer}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        tensors[f"{layer}.bias"] = arrays[name.replace("weights", "biases")]
    back = from_torch(tensors, "x.pth")
    for name in SHAPES:
        np.testing.assert_array_equal(back[name], arrays[name])
    del tensors["features.8.bias"]
    with pytest.raises(InputRefused, match=r"features\.8"):
        from_torch(tensors, "x.pth")


@pytest.mark.slow
def test_npz_and_keras_files(tmp_path: Path, engine: Engine):
    np.savez(tmp_path / "w.npz", **engine.weights.arrays)
    assert load_weights(tmp_path / "w.npz").fingerprint == engine.weights.fingerprint
    model = build_model()
    model.set_weights(list(engine.weights.arrays.values()))
    model.save(tmp_path / "w.keras")
    assert load_weights(tmp_path / "w.keras").fingerprint == engine.weights.fingerprint


def test_same_seed_same_weights(engine: Engine):
    assert random_weights(7).fingerprint == engine.weights.fingerprint
    assert engine.provenance()["random_weights_seed"] == 7


def test_absent_weights_say_what_to_do(tmp_path: Path):
    with pytest.raises(UsageError, match="fetch-weights"):
        load_weights(tmp_path / "vggish_model.ckpt")


@pytest.mark.parametrize("content", [b"", b"<html>login</html>" * 10, b"PK\x03\x04 torn"])
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputRefused, match="expected VGGish weights"):
        load_weights(tmp_path / "w")


def test_zip_of_something_else_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputRefused, match="expected VGGish weights"):
        load_weights(tmp_path / "w.zip")


def test_missing_misshapen_and_infinite_variables_are_named():
    with pytest.raises(InputRefused, match="18 of its 18 variables are missing"):
        checked({"other": np.zeros(3)}, "f")
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in SHAPES.items()}
    with pytest.raises(InputRefused, match=r"fc2/biases has shape \(127,\), expected \(128,\)"):
        checked({**arrays, "vggish/fc2/biases": np.zeros(127)}, "f")
    with pytest.raises(InputRefused, match="fc2/biases contains NaN"):
        checked({**arrays, "vggish/fc2/biases": np.full(128, np.nan)}, "f")


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(weights_module.WEIGHTS_DIR_VARIABLE, str(tmp_path))
    assert default_weights_dir() == tmp_path
    monkeypatch.delenv(weights_module.WEIGHTS_DIR_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_weights_dir() == Path("/cache/audioset-batch/vggish")
