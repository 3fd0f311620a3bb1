"""The first thing that a user runs, through SLURM; and the SLURM that is lent for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.demo.videos import made_up_videos
from audioset_batch.standin import Outcome, Video
from tests.support import CHECKOUT
from tests.support.slurm_cluster import PrivateSlurm


def unusual(videos: list[Video]) -> dict[str, list[str]]:
    """Ids of the videos that play, but not for everyone at once, by what is unusual about them."""
    return {
        "tracks": [video.ytid for video in videos if video.tracks],
        "kids": [video.ytid for video in videos if video.kids],
        "sabr": [video.ytid for video in videos if video.sabr and not video.hls],
        "hls": [video.ytid for video in videos if video.sabr and video.hls],
        "muxed": [video.ytid for video in videos if video.muxed],
        "ad": [video.ytid for video in videos if video.ad_seconds],
    }


def test_the_demo_meets_what_makes_youtube_hard() -> None:
    videos = list(made_up_videos({f"video_{number:05}": 50.0 for number in range(48)}).videos.values())
    assert sum(video.outcome is Outcome.OK for video in videos) == 36
    found = unusual(videos)
    assert {kind: len(ids) for kind, ids in found.items()} == dict.fromkeys(found, 1)
    good = {video.ytid for video in videos if video.outcome is Outcome.OK}
    assert all(good.issuperset(ids) for ids in found.values())
    assert sum(video.interstitial for video in videos) == 6


@pytest.mark.slow
def test_the_whole_job_through_slurm(slurm: PrivateSlurm, tmp_path: Path) -> None:
    done = slurm.run(sys.executable, "-m", "audioset_batch", "demo", str(tmp_path / "demo"), timeout=200)
    assert "sbatch --array=1-4 audiosetdl-job-array.s" in done.stdout
    assert "through SLURM" in done.stdout.splitlines()[-1]
    totals = json.loads((tmp_path / "demo" / "data" / "summary.json").read_text())["totals"]
    assert (totals["planned"], totals["ok"] + totals["unavailable"]) == (48, 48)
    assert totals["unavailable"] == 12
    report = (tmp_path / "demo" / "data" / "report.html").read_text()
    assert "</html>" in report


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")  # skips, or fails under CI, where there is none
def test_a_command_with_a_slurm_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.support.slurm_cluster", "sh", "-c", "sinfo --noheader -o '%P %D'; exit 3"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "main* 1" in done.stdout.splitlines()
    wrong = subprocess.run(
        [*command[:3], "no-such-program"], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
