"""What yt-dlp would not take is found before anything is asked or written: exit 2, by every command that goes out."""

from pathlib import Path

import pytest
import yaml

from audioset_batch.cli import main
from audioset_batch.plan.prep import PrepRequest, prep
from tests.support.loopback import make_rows, write_lists

COMMANDS = {
    "worker": ["--task", "1", "--data-dir"],
    "download": [],
    "screen": [],
    "submit": ["--cluster", "local", "--data-dir"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preflight")
    write_lists(folder / "source", {"eval_segments": make_rows(2)})
    prep(PrepRequest(root=folder / "data", base=str(folder / "source"), subsets=("eval_segments",)))
    return folder / "data"


def write(folder: Path, args: list[str], cookies: str | None, proxy: str | None) -> Path:
    egress = {"name": "closed", "proxy": proxy, "videos_per_hour": None}
    if cookies is not None:
        (folder / "cookies.txt").write_text(cookies)
        egress["cookies"] = str(folder / "cookies.txt")
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"egress": [egress], "youtube": {"args": args}, "worker": {"retries": 0}}))
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("args", "cookies", "problem"),
    [
        ([], '[{"name": "SID", "value": "T1RE"}]', "cookies.txt is JSON"),
        (["-f", "best["], None, "Invalid format"),
        (["--no-such-option"], None, "no such option: --no-such-option"),
        (["--extractor-args", "youtube:lang=de"], None, "English words"),
    ],
    ids=["cookies", "format", "option", "language"],
)
def test_exit_2_before_anything_is_asked(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    args: list[str],
    cookies: str | None,
    problem: str,
) -> None:
    path = write(tmp_path, args, cookies, "http://127.0.0.1:9")
    before = sorted(data.rglob("*"))
    assert main([command, *COMMANDS[command], str(data), "--config", str(path)]) == 2
    said = capsys.readouterr()
    assert problem in said.err
    assert "T1RE" not in said.out + said.err
    assert [path for path in sorted(data.rglob("*")) if "submissions" not in str(path)] == before


def test_a_proxy_of_the_environment_is_looked_at_as_well(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:T1RE/x@127.0.0.1:9")
    assert main(["download", str(data), "--config", str(write(tmp_path, [], None, None))]) == 2
    said = capsys.readouterr().err
    assert "https_proxy of the environment: not a proxy URL" in said and "T1RE" not in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        (".youtube.com\tTRUE\t/\tTRUE\t4102444800\tSID\tT1RE\n", "does not begin with"),
        ("# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tT1RE\n", "has 4 fields in line 2"),
    ],
    ids=["empty", "no header", "a torn line"],
)
def test_each_kind_of_file_that_holds_no_cookies(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    path = write(tmp_path, [], content, "http://127.0.0.1:9")
    assert main(["worker", *COMMANDS["worker"], str(data), "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"cookie file {tmp_path / 'cookies.txt'} {problem}" in said and "T1RE" not in said


@pytest.mark.parametrize("command", [*COMMANDS, "check"])
@pytest.mark.parametrize("password", ["T1RE/SEC/RET", "T1RE#SEC#RET"])
def test_a_password_that_is_not_percent_encoded(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, password: str
) -> None:
    path = write(tmp_path, [], None, f"http://user:{password}@127.0.0.1:9")
    before = sorted(data.rglob("*"))
    options = COMMANDS.get(command, ["--data-dir"])
    assert main([command, *options, str(data), "--config", str(path)]) == 2
    said = capsys.readouterr()
    assert "egress.0.proxy" in said.err and "percent-encoded" in said.err
    assert not [part for part in ("T1RE", "SEC") if part in said.out + said.err]
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("command", [*COMMANDS, "check"])
@pytest.mark.parametrize(
    "args",
    [
        ["--netrc-cmd", "touch CANARY"],
        ["--config-locations", "FOLDER/yt.conf"],
        ["--js-runtimes", "deno:FOLDER/program"],
        ["--exec", "pre_process:touch CANARY"],
        ["--plugin-dirs", "FOLDER"],
    ],
    ids=lambda args: args[0],
)
def test_a_config_that_others_can_write_runs_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, args: list[str]
) -> None:
    shared, canary = tmp_path / "shared", tmp_path / "canary"
    shared.mkdir()
    (shared / "yt.conf").write_text(f"--netrc-cmd 'touch {canary}'\n")
    program = shared / "program"
    program.write_text(f"#!/bin/sh\ntouch {canary}\n")
    program.chmod(0o755)
    shared.chmod(0o2775)
    own = [one.replace("CANARY", str(canary)).replace("FOLDER", str(shared)) for one in args]
    path = write(shared, own, None, "http://127.0.0.1:9")
    options = COMMANDS.get(command, ["--data-dir"])
    assert main([command, *options, str(data), "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"youtube.args: {args[0]}" in said and "--trust-config" in said
    assert not canary.exists()
