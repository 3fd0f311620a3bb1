"""Credentials never get out."""

import pytest

from audioset_batch.egress import redact, redact_proxy, redact_values


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


def test_a_proxy_without_scheme_among_the_options_of_ytdlp() -> None:
    args = ["--proxy", "user:s3cret@host:3128", "--proxy=user:s3cret@[::1]:1", "youtube:player_client=web"]
    assert redact_values(args) == ["--proxy", "***@host:3128", "--proxy=***@[::1]:1", "youtube:player_client=web"]
