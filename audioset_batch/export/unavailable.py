"""The list of permanently unavailable segments, so that others need not request them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audioset_batch.errors import UsageError
from audioset_batch.export.source import ExportReport, as_row, planned_rows, shards_of
from audioset_batch.layout import DataDir
from audioset_batch.plan.swap import watch_split
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import encode_row
from audioset_batch.sharedfs.publish import replacing


def export_unavailable(root: Path, file: Path, subsets: Sequence[str] | None = None) -> ExportReport:
    """Write the rows with status `unavailable` as JSON lines, in the order of the plan.

    They are manifest rows without the columns about this site: host, job and egress.

    Raises:
        InputRefused: there are no shards.
        PlanChanging: prep is splitting, or did so during the export.
        UsageError: the folder of `file` does not exist.
        StorageUnusable: `file` cannot be written.
    """
    data = DataDir(root)
    unchanged = watch_split(data)
    shards = shards_of(data, subsets)
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.absolute().parent}")
    report = ExportReport()
    with replacing(file) as temporary, temporary.open("wb") as lines:
        for shard in shards:
            for _, row in planned_rows(data, shard, unchanged):
                if row["status"] == Status.UNAVAILABLE:
                    lines.write(encode_row(as_row(row, host="", job_id="", restart_count=0, egress="")))
                    report.other_rows += 1
    return report
