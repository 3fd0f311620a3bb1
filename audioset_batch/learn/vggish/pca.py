"""What Google does to embeddings before their release: PCA with whitening, clipping, 8-bit quantization."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.features.arrays import quantize
from audioset_batch.learn.vggish.torch_file import is_torch_file, read_torch_file
from audioset_batch.learn.vggish.variables import EMBEDDING

PCA_NAME: Final = "vggish_pca_params.npz"
_VECTORS, _MEANS = "pca_eigen_vectors", "pca_means"


@dataclass(frozen=True, slots=True)
class Pca:
    """Parameters of the projection.

    Attributes:
        vectors: (128, 128) float64, one component per row.
        means: (128,) float64.
        source: Path, or what they were made from.
    """

    vectors: NDArray[np.float64] = field(repr=False)
    means: NDArray[np.float64] = field(repr=False)
    source: str

    def project(self, embeddings: NDArray[Any]) -> NDArray[np.float64]:
        """`(E (x^T - m))^T`: (N, 128) -> (N, 128)."""
        projected: NDArray[np.float64] = (np.asarray(embeddings, np.float64) - self.means) @ self.vectors.T
        return projected

    def postprocess(self, embeddings: NDArray[Any]) -> NDArray[np.uint8]:
        """Embeddings of the network, (N, 128), as released: projected, clipped to -2..2, truncated."""
        return quantize(self.project(embeddings))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers."""
        digest = hashlib.sha256(np.ascontiguousarray(self.vectors).tobytes())
        digest.update(self.means.tobytes())
        return digest.hexdigest()


def load_pca(path: Path) -> Pca:
    """PCA parameters of Google's `.npz` or torchvggish's `.pth`.

    Raises:
        UsageError: There is no such file.
        InputRefused: It is damaged or holds something else.
    """
    if not path.is_file():
        raise UsageError(
            f"no PCA parameters at {path}: run `audioset-batch fetch-weights` on a machine with internet "
            f"access (or copy {PCA_NAME} there by hand, see docs/embeddings.md), or name a file with --pca"
        )
    try:
        stored = read_torch_file(path) if is_torch_file(path) else _read_npz(path)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise InputRefused(f"{path}: cannot be read as a .npz file: {error}") from error
    missing = [name for name in (_VECTORS, _MEANS) if name not in stored]
    if missing:
        raise InputRefused(f"{path}: expected arrays {_VECTORS} and {_MEANS}; {', '.join(missing)} missing")
    vectors = np.asarray(stored[_VECTORS], np.float64)
    means = np.asarray(stored[_MEANS], np.float64)
    if vectors.shape != (EMBEDDING, EMBEDDING) or means.size != EMBEDDING:
        raise InputRefused(
            f"{path}: expected shapes ({EMBEDDING}, {EMBEDDING}) and ({EMBEDDING},), "
            f"found {vectors.shape} and {means.shape}"
        )
    if not (np.isfinite(vectors).all() and np.isfinite(means).all()):
        raise InputRefused(f"{path}: the parameters contain NaN or infinity")
    return Pca(vectors, means.reshape(EMBEDDING), str(path))


def _read_npz(path: Path) -> Mapping[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("not a zip archive")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def standardising_pca(embeddings: NDArray[np.float32], source: str) -> Pca:
    """Centres and scales each dimension to unit variance over `embeddings`, (N, 128).

    For random weights only: no PCA fits untrained weights, and without any,
    quantization would leave one or two values per dimension.
    """
    values = embeddings.astype(np.float64)
    scale = 1.0 / np.maximum(values.std(axis=0), 1e-9)
    return Pca(np.diag(scale), values.mean(axis=0), source)
