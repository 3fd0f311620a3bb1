"""audioset-batch: AudioSet on a SLURM cluster or a laptop.

The front door from Python, see docs/python.md:

    from audioset_batch import AudioSetClips, load_manifest
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audioset_batch.dataset import AudioSetClips, Classes, LabelledClip, load_classes, load_manifest

__version__ = "0.1.0"
__all__ = ["AudioSetClips", "Classes", "LabelledClip", "load_classes", "load_manifest"]


def __getattr__(name: str) -> Any:
    """Import the front door when somebody comes through it: the commands must start quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from audioset_batch import dataset

    return getattr(dataset, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
