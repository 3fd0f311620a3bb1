"""No secret in any file or log: proxy URLs may carry a user and a password."""

from __future__ import annotations

import re
from typing import Final

_CREDENTIALS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"]*@")


def redact_proxy(url: str | None) -> str:
    """`http://user:secret@host:3128` -> `http://***@host:3128`; None -> `direct`."""
    return "direct" if url is None else redact(url)


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it replaced by `***`."""
    return _CREDENTIALS.sub(r"\1***@", text)
