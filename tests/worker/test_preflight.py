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
