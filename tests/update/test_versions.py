"""Which yt-dlp a process imports, and from which folders nothing is imported."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.youtube import versions as ytdlp_versions
from audioset_batch.youtube.versions import Home
from tests.support.ytdlp_wheels import add_version

SAY = """
import sys
from audioset_batch.youtube import versions as ytdlp_versions
import yt_dlp.version
print(ytdlp_versions.version_in_use(), yt_dlp.version.__version__, ytdlp_versions.installed_version())
with ytdlp_versions.handed_on():
    import subprocess
    sys.stdout.flush()
    if len(sys.argv) == 1:
        subprocess.run([sys.executable, __file__, "child"], check=True)
"""


def versions_of_processes(tmp_path: Path, **environment: str) -> list[str]:
    """What a process and one that it starts say: in use, imported, installed."""
    script = tmp_path / "say.py"
    script.write_text(SAY)
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_process_and_its_children_take_the_current_version(home: Home, tmp_path: Path) -> None:
    add_version(home, "2099.1.2")
    installed = ytdlp_versions.installed_version()
    assert versions_of_processes(tmp_path) == [f"2099.1.2 2099.1.2 {installed}"] * 2


def test_what_is_handed_on_is_not_looked_up_again(home: Home, tmp_path: Path) -> None:
    old = add_version(home, "2098.1.1")
    add_version(home, "2099.1.2")  # the current one by now
    (first, second) = versions_of_processes(tmp_path, **ytdlp_versions.handing_on(old))
    assert first.startswith("2098.1.1 2098.1.1")
    assert second == first
    assert len(set(versions_of_processes(tmp_path, **ytdlp_versions.handing_on(None))[0].split())) == 1


def test_an_older_one_than_the_installed_is_not_taken(home: Home, tmp_path: Path) -> None:
    add_version(home, "2020.1.1")
    assert len(set(versions_of_processes(tmp_path)[0].split())) == 1


@pytest.mark.parametrize("where", ["version", "package", "home", "pointer"])
def test_nothing_that_others_can_write_is_imported(home: Home, where: str, caplog: pytest.LogCaptureFixture) -> None:
    version = add_version(home, "2099.1.2")
    assert home.current() == version
    path = {"version": version, "package": version / "yt_dlp", "home": home.folder, "pointer": home.pointer}[where]
    path.chmod(path.stat().st_mode | 0o020)
    assert home.current() is None
    assert f"others can write {path}" in caplog.text
    assert f"chmod go-w {path}" in caplog.text


def test_a_folder_above_that_others_can_write_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    folder = shared / "mine/versions"
    folder.mkdir(0o755, parents=True)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv(ytdlp_versions.HOME_VARIABLE, str(tmp_path / "link"))
    (home,) = ytdlp_versions.homes()
    version = add_version(home, "2099.1.2")
    assert home.folder == folder, "a link is not looked up again"
    for mode, found in ((0o755, version), (0o2775, None), (0o1777, version)):
        shared.chmod(mode)
        assert home.current() == found
    assert f"others can write {shared}" in caplog.text, "they could put another folder in the place of this one"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_nothing_of_another_user_is_imported(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    version = add_version(home, "2099.1.2")
    os.chown(version, 65534, 65534)
    assert home.current() is None
    assert "belongs to another user (uid 65534)" in caplog.text


def test_no_link_is_followed(home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    version = add_version(home, "2099.1.2")
    version.rename(tmp_path / "elsewhere")
    version.symlink_to(tmp_path / "elsewhere")
    assert home.current() is None
    assert "is a symbolic link" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 1}', '{"version": "../2099.1.2"}', '{"version": "."}', '{"version": "2099.1.9"}'],
)
def test_a_pointer_to_nothing_leaves_the_installed_one(home: Home, text: str, caplog: pytest.LogCaptureFixture) -> None:
    add_version(home, "2099.1.2")
    home.pointer.write_text(text)
    assert home.current() is None
    assert "the installed" in caplog.text


def test_without_an_update_nothing_is_said(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    assert home.current() is None
    assert not caplog.text


def test_order() -> None:
    names = ["2026.8.19", "2026.10.26", "2026.10.26.220202.dev0", "2026.10.26.230000dev", "2026.11.1", "2027.1.1"]
    assert sorted(sorted(names), key=ytdlp_versions.order) == names
    assert all(map(ytdlp_versions.is_version, names))
    assert ytdlp_versions.order("2026.08.19") == ytdlp_versions.order("2026.8.19")
    assert not any(map(ytdlp_versions.is_version, ["", ".", "..", "2026.10.26/..", "current", "2026.10.26\n", "2026"]))


@pytest.mark.parametrize(
    ("version", "note"),
    [
        ("2026.10.30", ""),
        ("2026.10.29", "yt-dlp 2026.10.29 is 30 days old: run audioset-batch update-yt-dlp"),
        ("2026.8.27.231323.dev0", "yt-dlp 2026.8.27.231323.dev0 is 93 days old"),
        ("2026.13.1", ""),
        ("nightly", ""),
        ("", ""),
    ],
)
def test_age(version: str, note: str) -> None:
    said = ytdlp_versions.age_note(version, datetime.date(2026, 11, 28))
    assert said.startswith(note) and bool(said) == bool(note)
