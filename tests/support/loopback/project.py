"""One data directory behind one stand-in, driven by the real commands as a user drives them."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
import yaml

from audioset_batch.cli import main
from audioset_batch.standin import Catalog, Outcome, Standin, Video
from audioset_batch.standin.measure import locate_audio
from tests.support.loopback.dataset import EXPECTED_FAILURE, EXPECTED_REASON, Row, write_lists

GOOD_VIDEO = "a_good_vide"
_QUICK = frozenset({"prep", "plan", "merge", "status", "logs", "clip", "report", "retry", "adopt", "export"})
NINE_LOSSES = (
    Outcome.REMOVED,
    Outcome.ACCOUNT_TERMINATED,
    Outcome.NONEXISTENT,
    Outcome.PRIVATE,
    Outcome.COPYRIGHT_CLAIM,
    Outcome.GEO_BLOCKED,
    Outcome.AGE,
    Outcome.UPCOMING,
    Outcome.NO_AUDIO,
)


class Project:
    """Lists, config and stand-in for some rows; `run` runs a command, `check` looks at what came of it all."""

    def __init__(
        self,
        folder: Path,
        subsets: dict[str, list[Row]],
        youtube: Standin,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.subsets = subsets
        self.youtube = youtube
        self.data = folder / "data"
        self.source = folder / "source"
        self.config = folder / "site.yaml"
        write_lists(self.source, subsets)
        youtube.put_video(Video(GOOD_VIDEO))
        self.settings: dict[str, Any] = {
            "worker": {"processes": 1, "threads": 4, "backoff_seconds": 0.1, "segment_timeout": 60},
            "egress": [{"name": "loopback", "proxy": youtube.access().proxy, "videos_per_hour": None}],
            "youtube": {"args": ["--no-cache-dir"]},
            "probe": {"ytids": [GOOD_VIDEO]},
            **(settings or {}),
        }
        self.write_config()

    def write_config(self) -> None:
        """Write `settings` as the YAML file that the commands get."""
        self.config.write_text(yaml.safe_dump(self.settings))

    @property
    def env(self) -> dict[str, str]:
        """What a user would export."""
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return plain | {"SSL_CERT_FILE": str(self.youtube.access().ca_file)}

    def run(
        self, *argv: str, status: int | Sequence[int] = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `audioset-batch ARGV` and expect this exit status (one of these).

        Commands that start no process run in this one: starting Python takes many times as long as what they do on
        small data.
        """
        if env is None and argv[0] in _QUICK:
            done = self._run_here(argv)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "audioset_batch", *argv],
                env=self.env if env is None else env,
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=280,
            )
        expected = (status,) if isinstance(status, int) else status
        assert done.returncode in expected, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def _run_here(self, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            returned = main(argv)
        return subprocess.CompletedProcess(argv, returned, out.getvalue(), err.getvalue())

    def prep(self, shards: int, *more: str) -> None:
        """Split into `shards` shards."""
        names = ",".join(self.subsets)
        self.run(
            "prep", str(self.data), "--base-url", str(self.source), "--subsets", names, "--split", str(shards), *more
        )

    def worker(self, task: int | str, *more: str, status: int | Sequence[int] = 0) -> subprocess.CompletedProcess[str]:
        """Run one task."""
        argv = ("worker", "--config", str(self.config), "--data-dir", str(self.data), "--task", str(task), *more)
        return self.run(*argv, status=status)

    def merge(self, *more: str, status: int | Sequence[int] = 0) -> pd.DataFrame:
        """Merge and return the table."""
        self.run("merge", str(self.data), *more, status=status)
        return pd.read_parquet(self.data / "manifest.parquet")

    def summary(self) -> dict[str, Any]:
        """What merge counted."""
        value: dict[str, Any] = json.loads((self.data / "summary.json").read_text())
        return value

    def rows(self) -> dict[tuple[str, str], Row]:
        """All planned rows by (subset, ytid)."""
        return {(subset, row.ytid): row for subset, rows in self.subsets.items() for row in rows}

    def check(self, table: pd.DataFrame, catalog: Catalog) -> None:
        """Every planned segment once, every reason right, every clip whole and exact, no file without a row."""
        planned = self.rows()
        assert sorted(zip(table.subset, table.ytid, strict=True)) == sorted(planned)
        files = set()
        for record in table.itertuples():
            row = planned[record.subset, record.ytid]
            video = catalog.get(record.ytid)
            if video.outcome in EXPECTED_FAILURE:
                expected = ("failed", EXPECTED_FAILURE[video.outcome], 1)
                assert (record.status, record.reason, record.attempts) == expected, record
                continue
            if video.outcome is not Outcome.OK:
                assert (record.status, record.reason) == ("unavailable", EXPECTED_REASON[video.outcome]), record
                continue
            if row.start_ms >= video.seconds * 1000:
                assert (record.status, record.reason) == ("unavailable", "segment_past_end"), record
                continue
            assert (record.status, record.reason) == ("ok", ""), record
            assert record.audio_path == f"data/{record.subset}/audio/{row.stem}.flac"
            files.add(record.audio_path)
            check_clip(self.data / record.audio_path, row, video.seconds)
        found = {path.relative_to(self.data).as_posix() for path in (self.data / "data").rglob("*") if path.is_file()}
        assert found == files
        assert not [path for path in (self.data / ".tmp").rglob("*") if path.is_file()]


def check_clip(path: Path, row: Row, video_seconds: float) -> None:
    """The clip has the right length and begins where the row says, by what its content tells."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    seconds = min(row.end_ms / 1000, video_seconds) - row.start_ms / 1000
    whole = row.end_ms / 1000 <= video_seconds
    slack = 0.5 if whole else rate * 0.1  # the encoder's last frame may reach beyond the nominal end
    assert abs(len(samples) - seconds * rate) <= slack, (path, len(samples), seconds)
    if len(samples) < rate:
        return  # shorter than a second says its length, but not its time
    assert abs(locate_audio(samples[:, 0], rate) - row.start_ms / 1000) < 0.001, path
