"""The 18 variables of the released checkpoint: names, shapes, and a check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused

Arrays = dict[str, NDArray[np.float32]]

CONVOLUTIONS: Final = (
    ("conv1", 64),
    ("conv2", 128),
    ("conv3/conv3_1", 256),
    ("conv3/conv3_2", 256),
    ("conv4/conv4_1", 512),
    ("conv4/conv4_2", 512),
)
"""Name below `vggish/` and number of filters, 3x3 each."""
POOL_AFTER: Final = frozenset({"conv1", "conv2", "conv3/conv3_2", "conv4/conv4_2"})
DENSE: Final = (("fc1/fc1_1", 4096), ("fc1/fc1_2", 4096), ("fc2", 128))
"""Name below `vggish/` and width; the first takes the flattened 6 x 4 x 512 (time, mel, channel)."""
FLAT: Final = 6 * 4 * 512
EMBEDDING: Final = 128


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 1
    for name, filters in CONVOLUTIONS:
        shapes[f"vggish/{name}/weights"] = (3, 3, channels, filters)
        shapes[f"vggish/{name}/biases"] = (filters,)
        channels = filters
    width = FLAT
    for name, units in DENSE:
        shapes[f"vggish/{name}/weights"] = (width, units)
        shapes[f"vggish/{name}/biases"] = (units,)
        width = units
    return shapes


SHAPES: Final = _shapes()
"""Variable name -> shape: kernels height, width, in, out; dense in, out. 72,141,184 numbers together."""


def checked(arrays: Mapping[str, NDArray[Any]], source: str) -> Arrays:
    """The 18 arrays as float32, in the order of `SHAPES`; further names are ignored.

    Raises:
        InputRefused: A variable is missing, or has another shape, or holds NaN or infinity.
    """
    missing = [name for name in SHAPES if name not in arrays]
    if missing:
        raise InputRefused(
            f"{source}: not the VGGish network: {len(missing)} of its {len(SHAPES)} variables are missing, "
            f"e.g. {missing[0]}; found {', '.join(sorted(arrays)[:4]) or 'nothing'}"
        )
    for name, shape in SHAPES.items():
        if arrays[name].shape != shape:
            raise InputRefused(f"{source}: {name} has shape {arrays[name].shape}, expected {shape}")
    result = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in SHAPES}
    for name, array in result.items():
        if not np.isfinite(array).all():
            raise InputRefused(f"{source}: {name} contains NaN or infinity")
    return result
