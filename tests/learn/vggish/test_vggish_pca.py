"""PCA and quantization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.vggish.pca import Pca, load_pca, standardising_pca


def test_truncates_and_clips():
    identity = Pca(np.eye(128), np.zeros(128), "test")
    values = np.zeros((1, 128))
    values[0, :7] = [0.5, 1.0, 0.0, 2.0, -2.0, 99.0, -99.0]
    assert identity.postprocess(values)[0, :7].tolist() == [159, 191, 127, 255, 0, 255, 0]


def test_rows_are_components():
    rng = np.random.default_rng(0)
    vectors, means, x = rng.standard_normal((128, 128)), rng.standard_normal(128), rng.standard_normal((5, 128))
    upstream = (vectors @ (x.T - means.reshape(-1, 1))).T
    np.testing.assert_allclose(Pca(vectors, means, "test").project(x), upstream, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(128,), (128, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loads_npz(tmp_path: Path, shape: tuple[int, ...], dtype: type):
    path = tmp_path / "pca.npz"
    np.savez(path, pca_eigen_vectors=np.eye(128, dtype=dtype), pca_means=np.arange(128, dtype=dtype).reshape(shape))
    pca = load_pca(path)
    assert pca.means.tolist() == list(range(128)) and pca.vectors.dtype == np.float64


def test_refusals(tmp_path: Path):
    path = tmp_path / "pca.npz"
    with pytest.raises(UsageError, match="fetch-weights"):
        load_pca(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputRefused, match="cannot be read"):
        load_pca(path)
    np.savez(path, pca_eigen_vectors=np.eye(128))
    with pytest.raises(InputRefused, match="pca_means missing"):
        load_pca(path)
    np.savez(path, pca_eigen_vectors=np.eye(64), pca_means=np.zeros(128))
    with pytest.raises(InputRefused, match=r"\(64, 64\)"):
        load_pca(path)


def test_standardisation():
    sample = np.random.default_rng(0).normal(5, 3, (1000, 128)).astype(np.float32)
    projected = standardising_pca(sample, "test").project(sample)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(projected.std(axis=0), 1, atol=1e-6)
