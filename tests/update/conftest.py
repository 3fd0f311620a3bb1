"""A registry in a folder, and a folder for the versions, so that no test touches the environment it runs in."""

from pathlib import Path

import pytest

from audioset_batch.youtube import versions as ytdlp_versions
from tests.support import ytdlp_wheels


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of a yt-dlp from the future and of what it needs."""
    folder = tmp_path_factory.mktemp("registry")
    ytdlp_wheels.write_wheels(folder, ytdlp_wheels.NEWER)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ytdlp_versions.Home:
    """An empty folder of versions, for this process and those that it starts."""
    folder = tmp_path / "versions"
    folder.mkdir(mode=0o755)
    monkeypatch.setenv(ytdlp_versions.HOME_VARIABLE, str(folder))
    (only,) = ytdlp_versions.homes()
    return only
