"""What workers note of their settings, for the report: enough, once, and no secret."""

import json
import os
from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.layout import DataDir
from audioset_batch.record.settings import read_settings
from audioset_batch.worker.settings import note_settings

SECRETS = ("hunter2", "s3cret", "po123", "cook1e", "t0ken", "twofac")
CONFIG = {
    "egress": [{"name": "p", "proxy": "http://me:hunter2@proxy.example:3128"}],
    "source": {"base_url": "https://me:hunter2@example.org/csv"},
    "youtube": {
        "args": [
            "--username", "me", "--password", "s3cret", "--video-pass=s3cret", "-2", "twofac", "-ps3cret",
            "--extractor-args", "youtube:po_token=web+po123", "--add-headers", "Cookie:cook1e; b=cook1e",
            "--retries", "7",
        ]
    },
    "slurm": {"setup": ["export HTTPS_PROXY=http://u:hunter2@proxy:1", "export API_TOKEN=t0ken"]},
}  # fmt: skip


def test_no_secret_and_all_the_rest(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    note_settings(Config.model_validate(CONFIG), data)
    (path,) = data.settings.iterdir()
    text = path.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    config = json.loads(text)["config"]
    assert config["egress"][0]["proxy"] == "http://***@proxy.example:3128"
    assert config["youtube"]["args"][-2:] == ["--retries", "7"]
    assert config["audio"]["sample_rate"] == 48000


def test_one_file_per_settings_and_the_latest_first(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    first, second = Config(), Config.model_validate({"audio": {"sample_rate": 16000}})
    for config in (first, second, first):
        note_settings(config, data)
        for path in data.settings.iterdir():
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    rates = [one["config"]["audio"]["sample_rate"] for one in read_settings(data)]
    assert rates == [48000, 16000]
    (data.settings / "x.json").write_text("[")
    assert len(read_settings(data)) == 2


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("in the way")
    note_settings(Config(), DataDir(tmp_path))
    assert "settings are not noted: cannot write" in caplog.text
