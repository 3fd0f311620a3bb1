"""The stand-in as a process of its own, switched from outside."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import yt_dlp

from audioset_batch.standin import (
    Access,
    Block,
    Catalog,
    ControlClient,
    ControlError,
    Fault,
    Outcome,
    Standin,
    Trouble,
    Video,
    Where,
)
from tests.support.waiting import wait_until

ALIVE = "aliveVideo1"


def read_ready(path: Path) -> dict[str, Any]:
    wait_until(path.exists, path.name)
    return json.loads(path.read_text())


def command(tmp_path: Path, *options: str) -> list[str]:
    Catalog.of(Video(ALIVE, 30, itags=(251,))).save(tmp_path / "catalog.json")
    fixed = ["--catalog", str(tmp_path / "catalog.json"), "--ready-file", str(tmp_path / "ready.json")]
    return [sys.executable, "-m", "audioset_batch.standin", *fixed, *options]


@pytest.fixture
def facts(tmp_path: Path, media_cache: Path) -> Iterator[dict[str, Any]]:
    options = ["--cache", str(media_cache), "--egress", "one", "--egress", "two", "--log", str(tmp_path / "log.jsonl")]
    process = subprocess.Popen(command(tmp_path, *options, "--prepare"), stdout=subprocess.PIPE, text=True)
    try:
        ready = read_ready(tmp_path / "ready.json")
        assert json.loads(process.stdout.readline()) == ready
        yield ready
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


def resolve(facts: dict[str, Any], egress: str) -> dict[str, Any]:
    access = Access(facts["proxies"][egress], Path(facts["ca_file"]))
    options = {"quiet": True, "no_warnings": True, "js_runtimes": {}, "extractor_retries": 0, **access.ytdlp_options}
    with yt_dlp.YoutubeDL(options) as ydl:
        return ydl.extract_info(f"https://www.youtube.com/watch?v={ALIVE}", download=False)


def test_process_answers_and_is_switched(facts: dict[str, Any], tmp_path: Path) -> None:
    control = ControlClient(facts["control_url"])
    assert {**control.describe(), "pid": facts["pid"]} == facts
    assert resolve(facts, "one")["id"] == ALIVE
    control.block(Block.BOT_CHECK, egress="two")
    with pytest.raises(yt_dlp.utils.DownloadError, match="not a bot"):
        resolve(facts, "two")
    control.unblock("two")
    assert resolve(facts, "two")["id"] == ALIVE
    control.add_fault(Fault(Trouble.SERVER_ERROR, Where.PLAYER, ytid=ALIVE))
    with pytest.raises(yt_dlp.utils.DownloadError):
        resolve(facts, "one")
    control.clear_faults()
    control.put_video(Video(ALIVE, outcome=Outcome.PRIVATE))
    with pytest.raises(yt_dlp.utils.DownloadError, match="Private video"):
        resolve(facts, "one")
    resolves = control.events("resolve", ytid=ALIVE)
    assert [(event["egress"], event["blocked"]) for event in resolves] == [
        ("one", None),
        ("two", "bot_check"),
        ("two", None),
        ("one", None),
        ("one", None),
    ]
    assert control.counters()["egresses"]["one"]["resolves"] == 3
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == control.events()
    since = resolves[3]["time"]
    assert [event["egress"] for event in control.events("resolve", since=since)] == ["one", "one"]
    control.clear_log()
    assert control.events() == []


def test_wrong_calls_are_answered_with_what_is_wrong(facts: dict[str, Any]) -> None:
    control = ControlClient(facts["control_url"])
    with pytest.raises(ControlError, match="no egress 'three'; there are one, two"):
        control.block(Block.BOT_CHECK, egress="three")
    with pytest.raises(ControlError, match="'quake' is not a valid"):
        control._call("add_fault", trouble="quake")
    with pytest.raises(ControlError, match="there are describe"):
        control._call("explode")


def test_control_does_not_go_through_the_proxy_variables(
    facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", facts["proxies"]["one"])
    assert ControlClient(facts["control_url"]).describe()["control_url"] == facts["control_url"]


def test_ends_with_its_parent(tmp_path: Path, media_cache: Path) -> None:
    child = command(tmp_path, "--cache", str(media_cache), "--with-parent")
    # A parent that dies without a word to its child.
    script = (
        "import os, subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, *child])
    try:
        ready = read_ready(tmp_path / "ready.json")
    finally:
        parent.kill()
        parent.wait()
    port = urlsplit(ready["proxies"]["direct"]).port
    deadline = time.monotonic() + 10
    while answers(port):
        assert time.monotonic() < deadline, f"process {ready['pid']} lives on"
        time.sleep(0.05)


def answers(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("name", "said"), [("broken.json", "expected what Catalog.save writes"), ("none.json", "No such file")]
)
def test_unreadable_catalogue_is_a_usage_error(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    done = subprocess.run(
        [sys.executable, "-m", "audioset_batch.standin", "--catalog", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr and "Error:" not in done.stderr.replace("JSONDecodeError:", "")


def test_stop_ends_stalled_connections_and_leaves_nothing(media_cache: Path) -> None:
    with Standin(Catalog.of(Video(ALIVE, 30, itags=(251,))), media_cache) as youtube:
        folder = youtube.ca_file.parent
        youtube.add_fault(Fault(Trouble.STALL, Where.PLAYER, after_bytes=0))
        outcomes: list[BaseException] = []

        def ask() -> None:
            try:
                resolve(youtube.describe(), "direct")
            except yt_dlp.utils.DownloadError as error:
                outcomes.append(error)

        asking = Thread(target=ask)
        asking.start()
        wait_until(lambda: youtube.events("resolve"), "a resolve")
        assert asking.is_alive(), "nothing is answered for an hour"
    asking.join(30)
    assert len(outcomes) == 1
    assert not folder.exists()
