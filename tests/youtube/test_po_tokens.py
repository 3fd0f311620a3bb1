"""PO tokens: a provider plugin is asked with the default settings, and where none is, the row says what is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.config import Youtube
from audioset_batch.errors import SegmentTransient
from audioset_batch.reasons import Reason
from audioset_batch.standin import Catalog, Standin, Video
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.environment import Environment, Runtime, javascript
from audioset_batch.youtube.streams import ClientOptions

YTID = "tokens_0001"
PLUGIN = """
from yt_dlp.extractor.youtube.pot.provider import PoTokenProvider, PoTokenResponse, register_provider

@register_provider
class MadeUpPTP(PoTokenProvider):
    PROVIDER_NAME = "made-up"
    PROVIDER_VERSION = "1"
    BUG_REPORT_LOCATION = "nowhere"
    _SUPPORTED_CLIENTS = _SUPPORTED_CONTEXTS = None
    _SUPPORTED_EXTERNAL_REQUEST_FEATURES = None

    def is_available(self):
        return True

    def _real_request_pot(self, request):
        assert request.visitor_data
        return PoTokenResponse(po_token="TUFERVVQ")
"""
PROGRAM = """
import json, sys
from audioset_batch.youtube.streams import ClientOptions
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.environment import detect_environment
from audioset_batch.config import Youtube
from audioset_batch.errors import SegmentTransient

proxy, ytid, questions = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
found = detect_environment(("--no-cache-dir",))
answers = []
for more in questions:
    args = ("--no-cache-dir", *more.pop("args", ()))
    client = YtDlpClient(ClientOptions(args=args, player_skip=Youtube().player_skip, proxy=proxy, **more))
    try:
        stream = client.resolve(ytid).audio
        answers.append(["pot=TUFERVVQ" in stream.url, stream.format_id, client.traffic.take().requests])
    except SegmentTransient as error:
        answers.append([False, error.reason, client.traffic.take().requests])
print(json.dumps({"providers": found.providers, "untrusted": found.untrusted, "answers": answers}))
"""


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Iterator[Standin]:
    with Standin(Catalog.of(Video(YTID, itags=(140, 251))), media_cache) as standin:
        yield standin


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH."""
    package = tmp_path / "lib" / "yt_dlp_plugins" / "extractor"
    package.mkdir(parents=True)
    (package / "made_up.py").write_text(PLUGIN)
    return tmp_path / "lib"


def ask(youtube: Standin, path: Path, *questions: dict[str, Any], cwd: Path | None = None) -> dict[str, Any]:
    """In a process of its own: yt-dlp loads its plugins once in each."""
    argv = [sys.executable, "-c", PROGRAM, youtube.access().proxy, YTID, json.dumps(questions)]
    env = {**os.environ, "PYTHONPATH": str(path), "SSL_CERT_FILE": str(youtube.access().ca_file)}
    env.pop("PYTHONSAFEPATH", None)  # the command line sets it, also for the tests that call it in their own process
    done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_provider_is_asked_with_the_default_settings_where_a_client_needs_it(youtube: Standin, plugins: Path) -> None:
    mweb = ["--extractor-args", "youtube:player_client=mweb"]
    own_skip = ["--extractor-args", "youtube:player_client=mweb;player_skip=webpage,configs"]
    found = ask(youtube, plugins, {}, {"args": mweb}, {"args": own_skip})
    assert found["providers"] == ["made-up"]
    lean, with_token, skipped = found["answers"]
    assert lean == [False, "251", 1], "the lean client needs no token and no page"
    assert with_token[:2] == [True, "251"]
    assert skipped[:2] == [False, "no_usable_format"], "a player_skip of the user's own stands"


@pytest.mark.parametrize("place", ["folder", "file", "current folder"])
def test_no_plugin_is_loaded_from_where_others_can_write(youtube: Standin, plugins: Path, place: str) -> None:
    changed = {"folder": plugins / "yt_dlp_plugins", "file": plugins / "yt_dlp_plugins" / "extractor" / "made_up.py"}
    if place in changed:
        changed[place].chmod(0o777)
        found = ask(youtube, plugins)
        assert found["untrusted"] == [f"everybody can write {changed[place]}"]
    else:
        found = ask(youtube, Path("/nowhere"), cwd=plugins)
        assert "is in the current folder" in found["untrusted"][0]
    assert found["providers"] == []


def test_a_token_from_the_config_is_taken_with_the_default_settings(
    youtube: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(youtube.access().ca_file))
    client = client_of("youtube:player_client=mweb;po_token=mweb.gvs+TUFERVVQ", youtube)
    stream = client.resolve(YTID).audio
    assert stream is not None and "pot=TUFERVVQ" in stream.url


def test_without_a_token_yt_dlp_says_what_is_missing(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(youtube.access().ca_file))
    with pytest.raises(SegmentTransient) as caught:
        client_of("youtube:player_client=mweb", youtube).resolve(YTID)
    assert caught.value.reason == Reason.NO_USABLE_FORMAT
    assert "mweb client https formats require a GVS PO Token which was not provided" in caught.value.detail


def client_of(extractor_args: str, youtube: Standin) -> YtDlpClient:
    args = ("--no-cache-dir", "--extractor-args", extractor_args)
    return YtDlpClient(ClientOptions(args=args, player_skip=Youtube().player_skip, proxy=youtube.access().proxy))


def runtime(name: str, *, enabled: bool, supported: bool) -> Runtime:
    return Runtime(name, "20.1", f"/usr/bin/{name}", enabled, supported, "22.0.0")


@pytest.mark.parametrize(
    ("runtimes", "solves", "text", "advice"),
    [
        ([("deno", True, True)], True, "deno 20.1 at /usr/bin/deno", ""),
        ([("deno", True, True)], False, "yt-dlp-ejs", "./setup.sh"),
        ([("deno", False, True)], False, "youtube.args switch it off", "--no-js-runtimes"),
        ([("node", False, True)], False, "uses only deno by default", '["--js-runtimes", "node"]'),
        ([("node", True, False)], False, "node 20.1 at /usr/bin/node is older than 22.0.0", "--with javascript"),
        ([], False, "no runtime", "--with javascript"),
    ],
)
def test_what_check_says_of_runtimes(
    runtimes: list[tuple[str, bool, bool]], solves: bool, text: str, advice: str
) -> None:
    found = tuple(runtime(name, enabled=enabled, supported=supported) for name, enabled, supported in runtimes)
    verdict = javascript(Environment(found, solves, (), ()))
    assert text in verdict.text and (advice in verdict.advice if advice else not verdict.advice)
