"""Waiting for things to happen."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Call `condition` again and again until it returns something true, and return that.

    Raises:
        AssertionError: nothing of the kind in `seconds`; the message names `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return value
