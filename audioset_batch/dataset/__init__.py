"""The data set as Python sees it: the manifest as a pandas table, and the clips as a lazy sequence of arrays.

Everything here only reads. `AudioSetClips` fits `torch.utils.data.DataLoader` but needs no torch.
"""

from audioset_batch.dataset.classes import Classes, load_classes
from audioset_batch.dataset.clips import AudioSetClips, LabelledClip
from audioset_batch.dataset.table import load_manifest

__all__ = ["AudioSetClips", "Classes", "LabelledClip", "load_classes", "load_manifest"]
