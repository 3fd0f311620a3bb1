"""VGGish's weights from whatever file holds them, or random ones when asked for by name."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.vggish.checkpoint import is_v1_checkpoint, read_v1_checkpoint
from audioset_batch.learn.vggish.torch_file import is_torch_file, read_torch_file
from audioset_batch.learn.vggish.variables import SHAPES, Arrays, checked
from audioset_batch.paths import expand_home

CHECKPOINT_NAME: Final = "vggish_model.ckpt"
WEIGHTS_DIR_VARIABLE: Final = "AUDIOSET_WEIGHTS"

_TORCH_LAYERS: Final = (
    *((f"features.{i}", v) for i, v in zip((0, 3, 6, 8, 11, 13), list(SHAPES)[0:12:2], strict=True)),
    *((f"embeddings.{i}", v) for i, v in zip((0, 2, 4), list(SHAPES)[12:18:2], strict=True)),
)
"""torchvggish's layer -> name of the kernel here."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The 18 arrays and where they came from.

    Attributes:
        arrays: As `SHAPES` says; kernels height, width, in, out.
        source: Path, or `random weights, seed N`.
        seed: The seed if they are random, else None.
        fingerprint: SHA-256 of the numbers, the same whatever the file format.
    """

    arrays: Arrays = field(repr=False)
    source: str
    seed: int | None = None
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for name, array in self.arrays.items():
            digest.update(name.encode())
            digest.update(array.tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())


def default_weights_dir() -> Path:
    """`$AUDIOSET_WEIGHTS`, else `audioset-batch/vggish` in the user's cache folder."""
    if chosen := os.environ.get(WEIGHTS_DIR_VARIABLE):
        return expand_home(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else expand_home("~/.cache")) / "audioset-batch" / "vggish"


def load_weights(path: Path) -> Weights:
    """Weights of a file; the content tells its kind, not the name.

    V1 checkpoint, torchvggish's `.pth` (zip or legacy), `.keras`, or `.npz` with the names of `SHAPES`.

    Raises:
        UsageError: There is no such file.
        InputRefused: Of no known kind, damaged, or not this network.
    """
    if not path.is_file():
        raise UsageError(
            f"no VGGish weights at {path}: run `audioset-batch fetch-weights` on a machine with internet "
            f"access (or copy {CHECKPOINT_NAME} there by hand, see docs/embeddings.md), or name a file with "
            "--weights; "
            "`--random-weights SEED` tries the program without them"
        )
    return Weights(checked(_read(path), str(path)), str(path))


def _read(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        if is_v1_checkpoint(path):
            return read_v1_checkpoint(path, SHAPES)
        if is_torch_file(path):
            return from_torch(read_torch_file(path), str(path))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            if "config.json" in members:
                return _read_keras(path)
            if members and all(name.endswith(".npy") for name in members):
                with np.load(path, allow_pickle=False) as stored:
                    return {name: stored[name] for name in stored.files if name in SHAPES}
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise InputRefused(f"{path}: cannot be read: {error}") from error
    raise InputRefused(
        f"{path}: expected VGGish weights: a TensorFlow V1 checkpoint ({CHECKPOINT_NAME}), torchvggish's "
        ".pth, a .keras or a .npz file; this is none of them, or it is truncated"
    )


def from_torch(tensors: Mapping[str, NDArray[Any]], source: str) -> dict[str, NDArray[Any]]:
    """torchvggish's tensors as TensorFlow's: kernels OIHW -> HWIO, dense out x in -> in x out.

    It flattens channels last like TensorFlow, so the rows of the first dense layer stay as they are.

    Raises:
        InputRefused: A layer is missing.
    """
    missing = [name for name, _ in _TORCH_LAYERS if not {f"{name}.weight", f"{name}.bias"} <= set(tensors)]
    if missing:
        raise InputRefused(
            f"{source}: not torchvggish's network: no {', '.join(missing)}; found {', '.join(sorted(tensors)[:4])}"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for name, variable in _TORCH_LAYERS:
        kernel = tensors[f"{name}.weight"]
        arrays[variable] = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        arrays[variable.replace("/weights", "/biases")] = tensors[f"{name}.bias"]
    return arrays


def _read_keras(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a saved Keras model in the order of its layers."""
    from audioset_batch.learn.vggish.backend import import_keras

    keras = import_keras()
    try:
        arrays = keras.saving.load_model(path, compile=False).get_weights()
    except Exception as error:  # Keras raises whatever its layers raise
        raise InputRefused(f"{path}: Keras cannot load it: {error}") from error
    if len(arrays) != len(SHAPES):
        raise InputRefused(f"{path}: expected a model of {len(SHAPES)} arrays, found {len(arrays)}")
    return dict(zip(SHAPES, arrays, strict=True))


def random_weights(seed: int) -> Weights:
    """Untrained weights for demonstrations: He-normal kernels, which keep the size of signals."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in SHAPES.items():
        if len(shape) == 1:
            arrays[name] = np.zeros(shape, np.float32)
        else:
            arrays[name] = rng.standard_normal(shape, dtype=np.float32)
            arrays[name] *= np.float32(np.sqrt(2.0 / np.prod(shape[:-1])))
    return Weights(arrays, f"random weights, seed {seed}", seed)
