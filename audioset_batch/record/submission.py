"""The latest submission of a data directory: which jobs it consists of, so that a second one can be told."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass
from typing import Literal

from audioset_batch.adapters.publish import atomic_write_json, storage
from audioset_batch.layout import DataDir

Role = Literal["prep", "array", "merge", "report"]


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """One job. For an array, shard = array index + `offset`, and `tasks` are its shards."""

    role: Role
    job_id: str
    tasks: tuple[int, ...] = ()
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """What `submit` did: `submitted_at` is UTC, ISO 8601; `config` the path of the file, "" for the defaults."""

    submitted_at: str
    config: str
    jobs: tuple[SubmittedJob, ...]

    @classmethod
    def begin(cls, config: str) -> Submission:
        """A submission without jobs yet."""
        return cls(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), config, ())

    def with_job(self, job: SubmittedJob) -> Submission:
        """The same with one more job."""
        return dataclasses.replace(self, jobs=(*self.jobs, job))


def write_submission(data: DataDir, submission: Submission) -> None:
    """Replace the record.

    Raises:
        StorageUnusable: it cannot be written.
    """
    with storage(data.root):
        data.submissions.mkdir(parents=True, exist_ok=True)
    atomic_write_json(data.submission_json, dataclasses.asdict(submission))


def read_submission(data: DataDir) -> Submission | None:
    """The latest submission; None if there is none or its record cannot be understood.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    with storage(data.root):
        try:
            text = data.submission_json.read_bytes()
        except FileNotFoundError:
            return None
    try:
        values = json.loads(text)
        jobs = tuple(
            SubmittedJob(job["role"], str(job["job_id"]), tuple(job.get("tasks", ())), int(job.get("offset", 0)))
            for job in values["jobs"]
        )
        return Submission(str(values["submitted_at"]), str(values["config"]), jobs)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
