"""What the header of a segments CSV promises, without the libraries that read its rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PROMISE: Final = re.compile(rb"num_segs\s*=\s*(\d+)")
_HEADER_BYTES: Final = 4096


def promised_rows(path: Path) -> int | None:
    """What the header of a shard promises (`num_segs`), without reading the rows; None if it does not.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        match = PROMISE.search(file.read(_HEADER_BYTES))
    return int(match[1]) if match else None
