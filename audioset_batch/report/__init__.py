"""`report.html`: the state of a data set as one page that opens offline."""

from audioset_batch.report.numbers import DEFAULT_THRESHOLD, Findings, find
from audioset_batch.report.run import load_summary, write_report

__all__ = ["DEFAULT_THRESHOLD", "Findings", "find", "load_summary", "write_report"]
