"""Tests, in folders named as the parts of the package; what they share is in `tests.support`."""
