"""An update: looked for, installed beside, proven, taken; and kept out where any of that fails."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.config.schema import Egress, Youtube
from audioset_batch.errors import InputRefused, StopEarly, UsageError
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.update import packages, run, undo, update, update_if_due
from audioset_batch.youtube import versions as ytdlp_versions
from audioset_batch.youtube.versions import Home
from tests.support import ytdlp_wheels
from tests.support.ytdlp_wheels import BROKEN, NEWER, add_version


def command(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "audioset_batch", *argv],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def version_of_new_processes() -> str:
    done = command("--version")
    return next(line.removeprefix("yt-dlp ") for line in done.stdout.splitlines() if line.startswith("yt-dlp "))


@pytest.mark.slow
def test_update_then_a_broken_one_then_back(home: Home, registry: Path, tmp_path: Path) -> None:
    installed = version_of_new_processes()
    pip = ytdlp_wheels.pip_environment(registry)
    done = command("update-yt-dlp", **pip)
    assert done.returncode == 0, done.stderr
    assert f"yt-dlp {NEWER}: a clip of the stand-in is right" in done.stdout
    assert version_of_new_processes() == NEWER
    assert (home.folder / NEWER / "yt_dlp_ejs").is_dir(), "with all that it needs"
    pointer = home.pointer.read_bytes()

    again = command("update-yt-dlp", **pip)
    assert (again.returncode, f"yt-dlp {NEWER} is in use" in again.stdout) == (0, True)

    more = tmp_path / "broken"
    more.mkdir()
    ytdlp_wheels.write_broken_wheel(more, BROKEN)
    broken = command("update-yt-dlp", **{**pip, "PIP_FIND_LINKS": f"{registry} {more}"})
    assert broken.returncode == 1
    assert f"yt-dlp {BROKEN} does not work here, {NEWER} stays in use" in broken.stderr
    assert "broken on purpose" in broken.stderr
    assert home.pointer.read_bytes() == pointer
    assert version_of_new_processes() == NEWER
    assert [path.name for path in home.folder.iterdir() if path.name.startswith((".new", BROKEN))] == []

    back = command("update-yt-dlp", "--undo")
    assert (back.returncode, installed in back.stdout) == (0, True)
    assert version_of_new_processes() == installed


def make_no_yt_dlp(version: str, folder: Path) -> None:
    """An installation that cannot resolve anything."""
    package = folder / "yt_dlp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('half of it is missing')\n")
    for path in (package, folder):
        path.chmod(0o755)


def test_what_does_not_prove_itself_is_not_taken(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "newest_version", lambda *, pre: NEWER)
    monkeypatch.setattr(packages, "install", make_no_yt_dlp)
    with pytest.raises(InputRefused, match=r"does not work here, .* stays in use: ImportError: half of it is missing"):
        update(Config(data_dir=tmp_path / "data", egress=(Egress(cookies=tmp_path / "c.txt"),)), print)
    assert sorted(path.name for path in home.folder.iterdir()) == ["checked.json", "update.lease"]


def test_what_others_can_write_is_not_taken(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(version: str, folder: Path) -> None:
        make_no_yt_dlp(version, folder)
        (folder / "yt_dlp").chmod(0o775)

    monkeypatch.setattr(packages, "newest_version", lambda *, pre: NEWER)
    monkeypatch.setattr(packages, "install", install)
    with pytest.raises(InputRefused, match=r"is refused, .* others can write"):
        update(Config(), print)


def test_a_registry_without_it(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ytdlp_wheels.pip_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputRefused, match=r"pip cannot get yt-dlp: .*No matching distribution"):
        update(Config(), print)
    assert "found_at" not in json.loads(home.checked.read_text())


def test_one_at_a_time(home: Home) -> None:
    with Lease.acquire(home.lease, Holder.current("41_1"), 60), pytest.raises(StopEarly, match="job 41_1"):
        update(Config(), print)


@pytest.mark.parametrize("key", ["data_dir", "egress_dir"])
def test_never_in_a_folder_that_is_shared(home: Home, key: str) -> None:
    with pytest.raises(UsageError, match=f"is within {home.folder.parent}, where others may write"):
        update(Config(**{key: home.folder.parent}), print)


def test_a_home_that_others_can_write_is_refused_before_anything_is_fetched(home: Home) -> None:
    home.folder.chmod(0o777)
    with pytest.raises(InputRefused, match=f"chmod go-w {home.folder}"):
        update(Config(), print)
    assert list(home.folder.iterdir()) == []


def test_read_only_installs_are_told_how(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputRefused, match=f"{home.folder} cannot be written: let AUDIOSET_YTDLP_DIR name"):
        update(Config(), print)


def test_a_read_only_environment_has_its_versions_in_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(sys.prefix))
    home = run._writable_home(Config())
    assert home.folder.is_relative_to(tmp_path / "audioset-batch")
    assert home.folder.stat().st_mode & 0o777 == 0o755
    assert home in ytdlp_versions.homes()


def test_weekly(home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def newest(*, pre: bool) -> str:
        asked.append("")
        if len(asked) == 1:
            raise InputRefused("pip cannot get yt-dlp: no network")
        return "2020.1.1"

    def days_later(days: float) -> None:
        looked = json.loads(home.checked.read_text())
        home.checked.write_text(json.dumps({key: value - 86400 * days for key, value in looked.items()}))

    monkeypatch.setattr(packages, "newest_version", newest)
    weekly = Config(youtube=Youtube(update="weekly"))
    with Lease.acquire(home.lease, Holder.current(), 60):
        update_if_due(weekly, print)  # somebody else is at it
    assert asked == []
    update_if_due(weekly, print)
    assert "pip cannot get yt-dlp: no network" in caplog.text
    update_if_due(weekly, print)
    assert len(asked) == 1, "the next try is the next day's"
    days_later(1.1)
    update_if_due(weekly, print)
    days_later(6.9)
    update_if_due(weekly, print)
    assert len(asked) == 2
    days_later(0.2)
    update_if_due(weekly, print)
    assert len(asked) == 3


def test_only_what_nobody_can_be_using_is_removed(home: Home) -> None:
    month = time.time() - 31 * 86400
    for version in ("2090.1.1", "2091.1.1", "2092.1.1", "2093.1.1", "2094.1.1", "2095.1.1"):
        folder = add_version(home, version, current=version == "2090.1.1")
        if version != "2091.1.1":  # a worker has started with it lately
            os.utime(folder, (month, month))
    (home.folder / ".new-0123/2096.1.1").mkdir(parents=True)
    run._remove_old(home)
    left = sorted(path.name for path in home.folder.iterdir() if path.is_dir())
    assert left == ["2090.1.1", "2091.1.1", "2093.1.1", "2094.1.1", "2095.1.1"]


def test_undo_without_an_update(home: Home) -> None:
    assert undo() == ytdlp_versions.installed_version()
