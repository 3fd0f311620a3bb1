"""Every error the program raises on purpose, cut by the decision it calls for.

    AudiosetBatchError
    |-- StopRun                     end this command now; `exit_code` says how
    |   |-- UsageError         2    wrong option, config or environment: nothing was started
    |   |-- InputRefused       1    a file or tree is not what it claims to be
    |   |   `-- UnsafePath          a link, FIFO or device where others can write; a huge file
    |   |-- Diverged           1    training came to numbers that are not finite
    |   `-- StopEarly       75      on purpose, run again later (EX_TEMPFAIL)
    |       |-- ShardHeld           another worker holds the shard's lease
    |       |   `-- PlanChanging    prep is splitting
    |       |-- StorageUnusable     full disk, quota, read-only or vanished filesystem
    |       |-- EgressExhausted     every egress is closed for longer than is to be waited for
    |       `-- Interrupted         a signal asked the worker to stop
    |-- EgressBlocked               pause the egress; the segment goes back to pending
    |-- SlotExpired                     nothing was asked; the segment goes back to pending
    `-- SegmentError                about one segment; carries a `Reason`
        |-- SegmentTransient        retry it: now with backoff, then in later runs
        `-- SegmentUnavailable      record it and go on: permanent

Errors of a dependency are translated into these in the one adapter that imports it, with `from`.
"""

from __future__ import annotations

from typing import ClassVar

from audioset_batch.reasons import Reason


class AudiosetBatchError(Exception):
    """Base of all errors of this package; its text is fit to be shown to a user as it is."""


class StopRun(AudiosetBatchError):
    """Ends the command; the command line prints the text and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(StopRun):
    """Wrong option, config or environment; nothing was started."""

    exit_code = 2


class InputRefused(StopRun):
    """A file or tree is not what it claims to be; says what was expected, what came, and where."""

    exit_code = 1


class UnsafePath(InputRefused):
    """Something in a shared folder is no plain file or folder, or lies behind a link of somebody who is not trusted."""


class Diverged(StopRun):
    """Training came to a loss or weights that are not finite; the last checkpoint is from before."""

    exit_code = 1


class StopEarly(StopRun):
    """Stopped on purpose with everything flushed; running the same command again continues."""

    exit_code = 75


class ShardHeld(StopEarly):
    """Another worker holds this shard's lease."""


class PlanChanging(ShardHeld):
    """Prep is splitting just now: nobody works on the shards meanwhile, so the work is still there afterwards."""


class StorageUnusable(StopEarly):
    """A path can no longer be written: full, over quota, read-only or gone."""


class EgressExhausted(StopEarly):
    """No egress opens soon enough to wait for it; `reopens_at` is a Unix time, or None if unknown."""

    def __init__(self, message: str, reopens_at: float | None = None) -> None:
        super().__init__(message)
        self.reopens_at = reopens_at


class EgressDoubtful(EgressExhausted):
    """Hardly any resolve brings a clip though the probe is good; what is left stays pending until a later run."""


class Interrupted(StopEarly):
    """A signal asked the worker to stop."""


class EgressBlocked(AudiosetBatchError):
    """The answer is about the egress (bot check, rate limit, 429), never about the segment."""


class SlotExpired(AudiosetBatchError):
    """The time to begin a resolve had passed before its first request; nothing was asked."""


class SegmentError(AudiosetBatchError):
    """About one segment. `reason` goes to the manifest, the text to its `detail` column.

    `proven` is False where only the user's own settings say what the answer means: an egress in a soft ban may have
    said the same.
    """

    def __init__(self, reason: Reason, detail: str, *, proven: bool = True) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.proven = proven

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.detail), {"proven": self.proven}


class SegmentTransient(SegmentError):
    """May succeed when tried again."""


class SegmentUnavailable(SegmentError):
    """Will not succeed when tried again from here."""
