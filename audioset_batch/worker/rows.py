"""Build the manifest rows of a worker."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.slurm.job import JobIdentity


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """The values that are the same in all rows that a worker writes for a shard."""

    shard: int
    job: JobIdentity
    ytdlp_version: str
    host: str = field(default_factory=socket.gethostname)

    def holder(self) -> Holder:
        """This worker, as the holder of a lease."""
        return Holder.current(self.job.job_id, self.job.restart_count)

    def row(
        self,
        segment: Segment,
        status: Status,
        *,
        reason: Reason | str = "",
        detail: str = "",
        egress: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
        requests: int = 0,
        fetched_bytes: int = 0,
        columns: dict[str, Any] | None = None,
    ) -> ManifestRow:
        """Build a row; `columns` are those of the published clip."""
        return ManifestRow.of(
            segment,
            self.shard,
            status,
            reason=reason,
            detail=detail,
            egress=egress,
            attempts=attempts,
            elapsed_seconds=round(elapsed, 3),
            requests=requests,
            fetched_bytes=fetched_bytes,
            job_id=self.job.job_id,
            restart_count=self.job.restart_count,
            host=self.host,
            ytdlp_version=self.ytdlp_version,
            **(columns or {}),
        )
