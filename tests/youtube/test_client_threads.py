"""Threads share one process: building clients in several of them changes nothing that all of them see."""

import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.errors import UsageError
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.options import parse_args
from audioset_batch.youtube.streams import ClientOptions

THREADS = 8


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What threads assign in `sys`, and the other settings of the process that they change."""
    seen: list[str] = []

    def note(name: str) -> None:
        if threading.current_thread() is not threading.main_thread():  # where pytest does that
            seen.append(name)

    class Watched(types.ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if self is sys:  # importlib makes new modules of the class that sys has
                note(f"sys.{name}")
            super().__setattr__(name, value)

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            note(name)
            return real(*args)

        return noted

    for name in ("umask", "chdir", "putenv", "unsetenv"):
        monkeypatch.setattr(os, name, noting(f"os.{name}", getattr(os, name)))
    sys.__class__ = Watched  # type: ignore[assignment]
    yield seen
    sys.__class__ = types.ModuleType  # type: ignore[assignment]


def at_once(what: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(what, range(5 * THREADS)):
            pass


def test_clients_built_by_several_threads_at_once(changes: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    at_once(lambda _: YtDlpClient(ClientOptions(args=("--no-cache-dir", "--retries", "3"))).traffic.take())
    assert changes == []
    assert capfd.readouterr() == ("", "")


def test_refused_options_do_not_repeat_secrets(changes: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    def parse(index: int) -> None:
        wrong = ["--no-such-option", "--help", "--version", "--verbose", "--batch-file=-"][index % 5]
        with pytest.raises(UsageError, match=r"no such option|has no effect here") as caught:
            parse_args(["--username", "me", "--password", "s3cret", wrong])
        assert wrong.removesuffix("=-") in str(caught.value)
        assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)

    at_once(parse)
    assert changes == []
    assert capfd.readouterr() == ("", "")


def test_the_cache_of_yt_dlp_is_written_without_touching_the_umask(changes: list[str], tmp_path: Path) -> None:
    client = YtDlpClient(ClientOptions(args=("--cache-dir", str(tmp_path))))
    at_once(lambda index: client._ydl.cache.store("youtube-sigfuncs", f"player/{index % 3}", {"spec": [index]}))
    assert changes == []
    assert client._ydl.cache.load("youtube-sigfuncs", "player/1", min_ver="2025.07.21")["spec"][0] % 3 == 1
    assert len(list(tmp_path.rglob("*"))) == 4, "a folder and three files, no temporary one"

    client._ydl.cache.store("youtube-sigfuncs", "n" * 300, {})  # a name too long is no reason to fail
    unwritable = tmp_path / "file"
    unwritable.touch()
    client._ydl.params["cachedir"] = str(unwritable)
    client._ydl.cache.store("youtube-sigfuncs", "player", {})
