"""`check`: each line ok, warning or error, with what to do; here, and on a node of the private SLURM."""

import datetime
import json
import socket
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.cli import main
from audioset_batch.config import Config
from audioset_batch.layout import DataDir
from audioset_batch.standin.faults import Block
from audioset_batch.submit.checks import scheduler, software, storage
from tests.support.loopback import Project
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.tools import write_tool


def check(project: Project, *more: str, status: int = 0) -> dict[str, Any]:
    """Findings by topic."""
    done = project.run("check", "--config", str(project.config), "--json", *more, status=status)
    return {one["topic"]: one for one in json.loads(done.stdout)["checks"]}


def test_good_project_has_no_error_and_is_left_as_it_was(project: Project) -> None:
    project.prep(2)
    before = sorted(path for path in project.data.rglob("*") if ".egress" not in path.parts)
    found = check(project, "--set", "egress.0.videos_per_hour=300")
    assert found["probe loopback"]["level"] == "ok"
    assert "10 s, format" in found["probe loopback"]["text"]
    assert found["plan"]["text"].startswith("8 segments left in 2 of 2 array tasks")
    for topic in ("Python", "packages", "sox", "writing", "egress loopback", "free space", "leases"):
        assert found[topic]["level"] == "ok", found[topic]
    assert before == sorted(path for path in project.data.rglob("*") if ".egress" not in path.parts)


def test_what_is_wrong_is_named_with_what_to_do_and_without_secrets(project: Project) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    project.prep(1)
    project.settings["egress"].append({"name": "dead", "proxy": f"http://me:secret@127.0.0.1:{port}"})
    project.settings["youtube"]["args"] = ["--no-such-option"]
    project.write_config()
    done = project.run("check", "--config", str(project.config), status=2)
    lines = done.stdout.splitlines()
    dead = next(i for i, line in enumerate(lines) if line.startswith("ERROR   egress dead"))
    assert "Connection refused" in lines[dead]
    assert "is the proxy up" in lines[dead + 1]
    assert "youtube.args" in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.slow
def test_cookies_are_warned_of(project: Project) -> None:
    cookies = project.folder / "cookies.txt"
    asking = ("--set", f"egress.0.cookies={cookies}")
    assert "cannot be read" in check(project, *asking, status=2)["cookies loopback"]["text"]
    cookies.write_text("# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2000000000\tSID\tf00dcafe\n")
    for mode, words in ((0o600, "may close an account"), (0o640, "others can use")):
        cookies.chmod(mode)
        found = check(project, *asking)
        assert found["cookies loopback"]["level"] == "warning"
        assert words in found["cookies loopback"]["text"]
        assert found["probe loopback"]["level"] == "ok"
        assert "f00dcafe" not in json.dumps(found)


def test_blocked_egress_is_told_and_paused_for_the_workers_too(project: Project) -> None:
    project.prep(1)
    project.youtube.block(Block.BOT_CHECK)
    found = check(project, status=1)
    assert "blocks this address" in found["probe loopback"]["text"]
    again = check(project)
    assert again["probe loopback"]["level"] == "warning"
    assert "paused until" in again["probe loopback"]["text"]


def test_a_runtime_that_yt_dlp_does_not_take_is_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools, get_path = project.folder / "tools", sysconfig.get_path
    write_tool(tools / "node", "echo v18.19.1")
    monkeypatch.setenv("PATH", f"{tools}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("SSL_CERT_FILE", str(project.youtube.access().ca_file))

    def seen() -> dict[str, str]:
        assert main(["check", "--config", str(project.config), "--json"]) == 0
        (found,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["topic"] == "JavaScript"]
        assert main(["--version"]) == 0
        assert f"\n{found['text']}" in capsys.readouterr().out.replace("JavaScript: ", "")
        return found

    found = seen()
    assert (found["level"], found["text"][:5]) == ("ok", "deno "), "of the test extra"
    # yt-dlp looks for deno there, too: where the test extra is not installed, nothing is there.
    monkeypatch.setattr(sysconfig, "get_path", lambda name, *more: str(tools) if name == "scripts" else get_path(name))
    found = seen()
    assert found["level"] == "warning" and "node 18.19.1" in found["text"] and "older than" in found["text"]


def test_script_and_default_config_ask_for_the_same() -> None:
    (found,) = scheduler.check_directives(Config())
    assert found.level == "ok", found.text


@pytest.mark.parametrize(
    ("text", "same"), [("1G", "1024M"), ("1gb", "1024"), ("600M", "600"), ("a lot", "a lot"), (None, None)]
)
def test_amounts_of_memory_are_compared_whatever_their_notation(text: str | None, same: str | None) -> None:
    assert scheduler._mem(text) == scheduler._mem(same)


def test_age_of_ytdlp() -> None:
    today = datetime.date(2026, 8, 1)
    assert software._ytdlp("2026.5.3", today).level == "ok"
    old = software._ytdlp("2026.05.02.232323", today)
    assert (old.level, old.advice) == ("warning", "audioset-batch update-yt-dlp")
    assert "91 days old" in old.text


def test_room_that_the_plan_needs(tmp_path: Path) -> None:
    config = Config()
    data = DataDir(tmp_path)
    estimated, _ = storage.bytes_per_clip(data, config)
    assert 0.5e6 < estimated < 1.92e6
    data.summary_json.write_text(json.dumps({"totals": {"ok": 200}, "audio_bytes": 200e6, "video_bytes": 100e6}))
    assert storage.bytes_per_clip(data, config) == (1.5e6, "the mean of 200 so far")


def test_plan_beyond_the_disk_is_an_error(project: Project) -> None:
    project.prep(1)
    summary = {"totals": {"ok": 1000}, "audio_bytes": 1e21, "video_bytes": 0}
    (project.data / "summary.json").write_text(json.dumps(summary))
    found = check(project, status=1)
    assert found["free space"]["level"] == "error"


@pytest.mark.slow
def test_wrong_limits_of_slurm_are_named(slurm: PrivateSlurm, on_slurm: Project) -> None:
    on_slurm.prep(1)
    found = check(on_slurm)
    assert found["partition"]["text"] == "main is up"
    assert "would start" in found["sbatch, array"]["text"]
    assert "mem 600 MB there, 500 MB in the config" in found["audiosetdl-job-array.s"]["text"]

    wrong = check(on_slurm, "--set", "slurm.partition=nowhere", status=1)
    assert "there is no nowhere" in wrong["partition"]["text"]
    assert "main*, high" in wrong["partition"]["advice"]
    slurm.scontrol("update", "PartitionName=high", "MaxTime=5")
    try:
        wrong = check(on_slurm, "--set", "slurm.partition=high", "--set", "slurm.cpus_per_task=999", status=1)
    finally:
        slurm.scontrol("update", "PartitionName=high", "MaxTime=INFINITE")
    assert "high allows 00:05:00" in wrong["time limit"]["text"]
    assert wrong["sbatch, array"]["level"] == "error"


@pytest.mark.slow
def test_on_a_compute_node(slurm: PrivateSlurm, on_slurm: Project) -> None:
    on_slurm.prep(1)
    on_slurm.settings["slurm"]["setup"] = ["echo welcome to this node"]
    on_slurm.write_config()
    found = check(on_slurm, "--on-compute")
    assert found["probe loopback"]["level"] == "ok"
    assert found["partition"]["level"] == "ok"
    jobs = [line for line in (slurm.folder / "jobcomp.txt").read_text().splitlines() if "audioset-check" in line]
    assert jobs
    on_slurm.settings["slurm"]["setup"] = ["echo no such module >&2; exit 9"]
    on_slurm.write_config()
    failed = check(on_slurm, "--on-compute", status=1)
    assert "no such module" in failed["compute node"]["text"]
