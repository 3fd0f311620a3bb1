"""The Arrow schema of the manifest: the only table from column to type."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from audioset_batch.model import COLUMNS

_TYPES: Final = {
    **dict.fromkeys(("shard", "sample_rate", "channels", "source_sample_rate"), pa.int32()),
    **dict.fromkeys(("attempts", "requests", "restart_count"), pa.int32()),
    **dict.fromkeys(("offset", "frames", "audio_bytes", "video_bytes", "fetched_bytes"), pa.int64()),
    **dict.fromkeys(("start_seconds", "end_seconds", "duration_seconds"), pa.float64()),
    **dict.fromkeys(("video_start_seconds", "elapsed_seconds"), pa.float64()),
    **dict.fromkeys(("peak_dbfs", "rms_dbfs"), pa.float64()),
    "silent": pa.bool_(),
}

MANIFEST_SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
"""Columns without a type above are strings."""
