"""What `squeue` says of a job or of one task of an array."""

from dataclasses import dataclass

FINISHED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
FIELDS = ("ArrayJobID", "JobID", "ArrayTaskID", "State", "Reason", "RestartCnt", "exit_code", "NodeList")
FORMAT = ",".join(f"{field}:60|" for field in FIELDS)
"""For `squeue --Format`: each field padded to 60 characters and closed by a bar."""


@dataclass(frozen=True, slots=True)
class Task:
    """One line of `squeue`: a job, or one task of an array."""

    job_id: int
    """The id of the whole job, the same for all tasks of an array."""
    index: int | None
    """The index in the array; None for a plain job."""
    state: str
    reason: str
    restarts: int
    exit_code: int
    signal: int
    """The signal that ended the job, else 0."""
    node: str

    @property
    def finished(self) -> bool:
        """True in a state that SLURM does not leave by itself."""
        return self.state in FINISHED

    @property
    def name(self) -> str:
        """The name by which scontrol and scancel know it, such as `7_2`."""
        return str(self.job_id) if self.index is None else f"{self.job_id}_{self.index}"


def parse(line: str) -> Task:
    """Read one line that `squeue --Format FORMAT` printed."""
    fields = [field.strip() for field in line.split("|")]
    array, job, index, state, reason, restarts, status, node = fields[:8]
    if ":" in status:  # exit code and signal, as SLURM 24.11 says it
        code, _, number = status.partition(":")
        exit_code, ended_by = int(code), int(number)
    else:  # what wait(2) gives, as 22.05 does
        exit_code, ended_by = int(status) >> 8, int(status) & 0x7F
    return Task(
        job_id=int(array) if array.isdecimal() and array != "0" else int(job),
        index=int(index) if index.isdecimal() else None,
        state=state,
        reason=reason,
        restarts=int(restarts),
        exit_code=exit_code,
        signal=ended_by,
        node=node,
    )
