"""Passwords: only where nobody else can read them, and in a form that is found again in every text."""

import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audioset_batch.config import ConfigError, load_config
from audioset_batch.config.proxy import proxy_problem
from audioset_batch.config.redact import redact, redact_values

RAW = [
    "T1RE/SEC/RET",
    "T1RE#SEC",
    "T1RE?SEC",
    "T1RE@SEC/x",
    "T1RE SEC",
    "T1RE'SEC",
    'T1RE"SEC',
    "T1RE\\SEC",
    "T1RE%SEC",
    "T1REé",
]


@pytest.mark.parametrize("password", RAW)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_repeated(tmp_path: Path, password: str) -> None:
    path = tmp_path / "site.yaml"
    quoted = f"http://user:{password}@127.0.0.1:9".replace("'", "''")
    path.write_text(f"egress:\n  - proxy: '{quoted}'\n")
    with pytest.raises(ConfigError, match=r"site.yaml:2: egress\.0\.proxy: .*percent-encoded") as caught:
        load_config(path)
    assert "T1RE" not in str(caught.value) and "user" not in str(caught.value).partition("in its")[0]


@given(st.text(min_size=1).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_any_password_passes_when_encoded_and_is_shown_by_nothing(password: str) -> None:
    encoded = urllib.parse.quote(f"PW{password}", safe="")  # no part of the texts below
    url = f"socks5h://user:{encoded}@proxy.example.org:1080"
    assert proxy_problem(url) == ""
    for text in (f"Unable to connect to proxy '{url}'", f"({url}, 3)", url):
        assert encoded not in redact(text)


@pytest.mark.parametrize("url", ["http://h", "https://h:3128/", "socks4a://[::1]:1080", "http://u@h.example:1"])
def test_proxies_that_are_taken(url: str) -> None:
    assert proxy_problem(url) == ""


@pytest.mark.parametrize(
    "url", ["h:1", "ftp://h", "http://", "http://h/path", "http://h:port", "http://h?x", "http://a b"]
)
def test_proxies_that_are_none(url: str) -> None:
    assert proxy_problem(url).startswith("not a proxy URL: expected")


@pytest.mark.parametrize(
    "override",
    [
        "egress.0.proxy=http://user:T1RE@h:1",
        "egress.0={name: a, proxy: 'http://user:T1RE@h:1'}",
        "egress=[{proxy: 'http://user:T1RE@h:1'}]",
        "youtube.args=[--proxy, 'user:T1RE@h:1']",
        "youtube.args=[--video-password, T1RE]",
        "youtube.args=[--add-headers, 'Cookie:SID=T1RE']",
        "youtube.args=[--extractor-args, 'youtube:po_token=web.gvs+T1RE']",
    ],
)
def test_none_is_taken_from_a_command_line(override: str) -> None:
    with pytest.raises(ConfigError, match=r"--set .*proxy_file") as caught:
        load_config(None, [override])
    assert "T1RE" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "egress: [{proxy: 'http://user:T1RE@h:1', proxy: x}]",
        "egress: [{prxy: 'http://user:T1RE@h:1'}]",
        "source: {base_url: 7, subsets: ['http://user:T1RE@h:1']}",
        "youtube: {args: '--password T1RE'}",
        'egress: [{proxy: "http://user:T1RE"x@h:1"}]',
        "egress: [{proxy: http://user:T1RE@h:1]",
    ],
)
def test_no_complaint_about_a_config_repeats_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"site\.yaml") as caught:
        load_config(path)
    assert "T1RE" not in str(caught.value)


def test_a_proxy_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy.txt"
    file.write_text("# of the department\nhttp://user:p%2Fw@h:1\n")
    config = load_config(None, [f"egress.0.proxy_file={file}"])
    assert config.egress[0].proxy == "http://user:p%2Fw@h:1"
    assert "p%2Fw" not in str(redact_values(config.model_dump(mode="json", warnings=False)))
    assert load_config(None, [f"egress.0.proxy_file={file}"], secrets=False).egress[0].proxy is None
    with pytest.raises(ConfigError, match="not both"):
        load_config(None, [f"egress.0.proxy_file={file}", "egress.0.proxy=http://h:1"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b"", "0 lines"),
        (b"http://u:T1RE@h\nhttp://u:T1RE@i\n", "2 lines"),
        (b"http://u:T1/RE@h\n", "percent-encoded"),
        (b"\xff\xfe", "not text"),
    ],
)
def test_a_proxy_file_that_is_none(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "proxy.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"egress\.0\.proxy_file: .*{problem}") as caught:
        load_config(None, [f"egress.0.proxy_file={file}"])
    assert "T1" not in str(caught.value)
