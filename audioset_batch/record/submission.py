"""The latest submission of a data directory and its jobs, so that a second submission can be detected."""

from __future__ import annotations

import dataclasses
import datetime
import re
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from audioset_batch import untrusted
from audioset_batch.errors import UnsafePath
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.publish import atomic_write_json, storage

Role = Literal["prep", "array", "download", "merge", "report"]
_MAX_BYTES: Final = 16 << 20
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
"""Under SLURM a number, without the cluster's name after `;`; with the local executor a word."""


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """One job. `tasks` are its shards; those of an array have the array index plus `offset` as their number."""

    role: Role
    job_id: str
    tasks: tuple[int, ...] = ()
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """One call of `submit`.

    Attributes:
        submitted_at: UTC, ISO 8601.
        config: Path of the config file; "" for the defaults.
        jobs: The jobs, in the order of submission.
    """

    submitted_at: str
    config: str
    jobs: tuple[SubmittedJob, ...]

    @classmethod
    def begin(cls, config: str) -> Submission:
        """Start a submission, without jobs yet."""
        return cls(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), config, ())

    def with_job(self, job: SubmittedJob) -> Submission:
        """The same submission with one more job."""
        return dataclasses.replace(self, jobs=(*self.jobs, job))


def write_submission(data: DataDir, submission: Submission) -> None:
    """Write the record of the latest submission.

    Raises:
        StorageUnusable: it cannot be written.
    """
    with storage(data.root):
        data.submissions.mkdir(parents=True, exist_ok=True)
    atomic_write_json(data.submission_json, dataclasses.asdict(submission))


def read_submission(data: DataDir) -> Submission | None:
    """Read the latest submission; None if there is none or if its record is invalid.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    with storage(data.root):
        try:
            values = untrusted.load_object(read_file(data.submission_json, _MAX_BYTES))
        except FileNotFoundError:
            return None
        except (ValueError, UnsafePath):
            return None
    try:
        jobs = tuple(map(_job, values["jobs"]))
        return Submission(untrusted.text(values["submitted_at"]), untrusted.text(values["config"], 5000), jobs)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _job(values: dict[str, Any]) -> SubmittedJob:
    """Decode a job; raises ValueError, TypeError, KeyError or AttributeError if it is invalid."""
    if values["role"] not in get_args(Role) or not _JOB_ID.fullmatch(values["job_id"]):
        raise ValueError("no job")
    tasks = tuple(untrusted.whole(task, 0, 10**9) for task in values.get("tasks", ()))
    return SubmittedJob(values["role"], values["job_id"], tasks, untrusted.whole(values.get("offset", 0), 0, 10**9))
