"""A made-up AudioSet on the loopback stand-in: lists, runs of the real commands, checks of what came out."""

from tests.support.loopback.dataset import EXPECTED_REASON, Row, make_rows, write_lists
from tests.support.loopback.project import Project

__all__ = ["EXPECTED_REASON", "Project", "Row", "make_rows", "write_lists"]
