"""Export a data directory to the other layout or to Parquet with embedded audio, or list unavailable segments."""

from audioset_batch.export.layouts import export_layout
from audioset_batch.export.parquet import export_parquet
from audioset_batch.export.source import ExportReport
from audioset_batch.export.unavailable import export_unavailable

__all__ = ["ExportReport", "export_layout", "export_parquet", "export_unavailable"]
