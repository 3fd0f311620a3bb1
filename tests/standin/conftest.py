from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audioset_batch.standin import Access, Catalog, Outcome, Standin, Video

ALIVE = "aliveVideo1"
OTHER = "otherVideo2"


@pytest.fixture(autouse=True)
def _no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def youtube(media_cache: Path) -> Iterator[Standin]:
    """Two egresses; two videos with audio alone, and one video for each outcome, named after it."""
    gone = [Video(f"{outcome.value:_<11}"[:11], outcome=outcome) for outcome in Outcome]
    catalog = Catalog.of(*gone, Video(ALIVE, 30, itags=(140, 251)), Video(OTHER, 30, itags=(140, 251)))
    with Standin(catalog, media_cache, egresses=("one", "two")) as standin:
        yield standin


class Browser:
    """Asks one URL at a time through the stand-in, by the standard library, with its certificate checked."""

    def __init__(self, access: Access) -> None:
        self.proxy = urlsplit(access.proxy)
        self.context = ssl.create_default_context(cafile=str(access.ca_file))

    def ask(
        self, url: str, byte_range: str | None = None, method: str = "GET", body: str | None = None, timeout: float = 10
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPSConnection]:
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            self.proxy.hostname or "", self.proxy.port, context=self.context, timeout=timeout
        )
        connection.set_tunnel(parts.hostname or "", 443)
        headers = {} if byte_range is None else {"Range": f"bytes={byte_range}"}
        connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers)
        return connection.getresponse(), connection


@pytest.fixture
def browse(youtube: Standin) -> Callable[[str], Browser]:
    return lambda egress: Browser(youtube.access(egress))
