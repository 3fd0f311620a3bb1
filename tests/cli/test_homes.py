"""Paths that begin with `~`, and users without a home: containers have such."""

import pwd
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.errors import UsageError
from audioset_batch.learn.vggish.backend import _configured_backend
from audioset_batch.paths import expand_home
from audioset_batch.youtube.versions import homes


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "KERAS_HOME", "AUDIOSET_WEIGHTS", "AUDIOSET_YTDLP_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_home_of_this_and_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home("~/a/~b") == Path("/home/me/a/~b")
    assert expand_home(Path("a")) == Path("a")
    assert expand_home(f"~{pwd.getpwuid(0).pw_name}/a") == Path(pwd.getpwuid(0).pw_dir, "a")
    with pytest.raises(UsageError, match=r"~no-such-user/a: that home directory is not known"):
        expand_home("~no-such-user/a")


@pytest.mark.parametrize(
    "command",
    [
        ["status", "~/x"],
        ["check", "--data-dir", "~/x"],
        ["prep", "~/x"],
        ["adopt", "~/x"],
        ["report", "~/x"],
        ["embed", "--smoke-test"],
        ["download", "~/x", "--subsets", "eval"],
    ],
)
@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_not_known_is_named(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert "that home directory is not known here: set HOME" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_who_has_no_home_can_work_all_the_same() -> None:
    assert len(homes()) == 1, "the yt-dlp of the environment"
    assert _configured_backend() == ""
