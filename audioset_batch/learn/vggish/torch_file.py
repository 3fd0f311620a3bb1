"""Reads the tensors of a `.pth` file without torch: torchvggish's weights and PCA parameters.

Two formats, both described in torch/serialization.py:

* zip (torch >= 1.6): `<name>/data.pkl` and one `<name>/data/<key>` per storage;
* legacy: pickles of a magic number, the protocol and the byte order, then the object, then the storage keys;
  then per key its number of elements (int64) and the elements.

A pickle can run any code, so the unpickler knows only what a dictionary of tensors or arrays consists of.
"""

from __future__ import annotations

import codecs
import errno
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_DTYPES: Final = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: np.dtype[Any]


@dataclass(slots=True, eq=False)
class _Storage:
    """The numbers behind one or more tensors; a legacy file gives them only after the pickle."""

    key: str
    dtype: np.dtype[Any]
    size: int
    values: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """A copy of the tensor's numbers."""
        values = self.storage.values
        if values is None:
            raise ValueError(f"storage {self.storage.key} is missing")
        shape, strides = tuple(map(int, self.shape)), tuple(map(int, self.strides))
        if len(shape) != len(strides) or self.offset < 0 or min((*shape, *strides, 0)) < 0:
            raise ValueError(f"impossible tensor of shape {shape} and strides {strides}")
        last = self.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and last >= values.size:
            raise ValueError(f"a tensor of shape {shape} is larger than its storage of {values.size} numbers")
        base = values[self.offset :]
        steps = [step * base.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(base, shape, steps, writeable=False).copy()


def is_torch_file(path: Path) -> bool:
    """True for a zip with a `data.pkl`, or a pickle that starts with torch's legacy magic number."""
    with path.open("rb") as file:
        head = file.read(32)
        if _LEGACY_MAGIC.to_bytes(10, "little") in head:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array of the dictionary in a `.pth` file; entries that are no tensor or array are left out.

    Raises:
        InputRefused: Not such a file, damaged, or it holds something else than a dictionary of tensors.
        OSError: It cannot be read.
    """
    try:
        loaded = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        if not isinstance(loaded, Mapping):
            raise ValueError(f"holds a {type(loaded).__name__}, expected a dictionary of tensors")
        arrays = {
            str(name): value.array() if isinstance(value, _Tensor) else value
            for name, value in loaded.items()
            if isinstance(value, _Tensor | np.ndarray)
        }
    except Exception as error:  # a damaged pickle may raise nearly anything
        # EINVAL: a damaged directory of the zip points before the beginning of the file.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputRefused(f"{path}: cannot be read as a PyTorch file of tensors: {error}") from error
    return arrays


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


def _numpy_reconstruct(kind: type, shape: tuple[int, ...], typecode: bytes) -> NDArray[Any]:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"array of type {kind!r}")
    return np.ndarray.__new__(np.ndarray, shape, dtype=np.dtype("b"))


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return codecs.encode(text, "latin1")


_ALLOWED: Final[dict[tuple[str, str], Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _numpy_reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _numpy_reconstruct,
    **{("torch", name): _StorageType(np.dtype(code)) for name, code in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but `_ALLOWED`, and asks `storage` for the numbers."""

    def __init__(self, file: IO[bytes], storage: Callable[[str, np.dtype[Any], int], _Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused {module}.{name}: not part of a tensor") from None

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", type, key, device, number of elements[, view of another storage])
        if self._storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("a storage that is a view of another")
        if not isinstance(pid[1], _StorageType):
            raise pickle.UnpicklingError(f"storage of type {pid[1]!r}")
        return self._storage(str(pid[2]), pid[1].dtype, int(pid[4]))


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"expected one data.pkl in the zip, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        storages: dict[str, _Storage] = {}

        def storage(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
            if key not in storages:
                # zipfile checks the CRC-32 of each member.
                values = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
                if values.size != size:
                    raise ValueError(f"storage {key} has {values.size} numbers, expected {size}")
                storages[key] = _Storage(key, dtype, size, values)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _read_legacy(path: Path) -> Any:
    storages: dict[str, _Storage] = {}

    def storage(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
        return storages.setdefault(key, _Storage(key, dtype, size))

    with path.open("rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise ValueError("expected torch's zip or legacy format")
        protocol = _Unpickler(file).load()
        if protocol != _LEGACY_PROTOCOL:
            raise ValueError(f"legacy protocol {protocol}, expected {_LEGACY_PROTOCOL}")
        if not _Unpickler(file).load().get("little_endian", True):
            raise ValueError("written on a big-endian machine")
        loaded = _Unpickler(file, storage).load()
        for key in _Unpickler(file).load():
            target = storages[str(key)]
            count = int.from_bytes(file.read(8), "little", signed=True)
            raw = file.read(count * target.dtype.itemsize) if count == target.size else b""
            if count != target.size or len(raw) != count * target.dtype.itemsize:
                raise ValueError(f"storage {key} is truncated or has {count} numbers, expected {target.size}")
            target.values = np.frombuffer(raw, target.dtype)
    return loaded
