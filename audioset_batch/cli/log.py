"""Log lines of the long-running commands."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from audioset_batch.slurm.job import JobIdentity
from audioset_batch.untrusted import visible_lines


def log_to_stderr(verbose: bool, path: Path | None = None) -> None:
    """Log to stderr and, if asked, to a file; inside SLURM every line names the job and its restart count.

    Raises:
        UsageError: the log file cannot be opened.
    """
    job = JobIdentity.from_environment()
    who = f" [job {job.job_id} restart {job.restart_count}]" if job.job_id else ""
    formatter = _Formatter(f"%(asctime)s{who} %(levelname).1s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [_stderr_handler()]
    if path is not None:
        handlers.append(_file_handler(path))
    root = logging.getLogger("audioset_batch")
    root.handlers.clear()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False


class _Formatter(logging.Formatter):
    """Messages may hold what others have written: names of files, words of a server."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


def _stderr_handler() -> logging.Handler:
    """On a terminal through rich's console, which keeps lines and the live bar apart."""
    if sys.stderr.isatty():
        from rich.console import Console

        class Lines(logging.Handler):
            console = Console(stderr=True, highlight=False, markup=False)

            def emit(self, record: logging.LogRecord) -> None:
                self.console.print(self.format(record), soft_wrap=True)

        return Lines()
    return logging.StreamHandler(sys.stderr)


def _file_handler(path: Path) -> logging.Handler:
    from audioset_batch.errors import UsageError

    try:
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"log file {path}: {error.strerror}") from error
