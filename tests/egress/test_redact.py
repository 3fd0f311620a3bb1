"""Credentials never get out."""

import pytest

from audioset_batch.egress import redact, redact_proxy


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "direct"),
        ("http://host:3128", "http://host:3128"),
        ("http://user:pw@host:3128", "http://***@host:3128"),
        ("SOCKS5h://user@host", "SOCKS5h://***@host"),
        ("http://us%40er:p@w@host/", "http://***@host/"),
    ],
)
def test_proxies(url: str | None, shown: str) -> None:
    assert redact_proxy(url) == shown


def test_texts() -> None:
    text = "Unable to connect to proxy 'http://a:b@h:1', then socks5://c:d@i; mail x@y.example"
    assert redact(text) == "Unable to connect to proxy 'http://***@h:1', then socks5://***@i; mail x@y.example"
