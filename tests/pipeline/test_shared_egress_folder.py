"""A member of the group that shares `egress_dir` plants a link and a shell text; a worker of another one meets them."""

import json
from pathlib import Path

from audioset_batch.standin import Catalog, Standin, Video
from tests.support.loopback import Project, Row


def test_a_worker_writes_nothing_outside_of_the_folder(tmp_path: Path, media_cache: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "egress" / "loopback"
    home.mkdir()
    shared.mkdir(parents=True)
    startup, canary = home / ".bashrc", home / "canary"
    startup.write_text("# first\n")
    (shared / "pauses.jsonl").symlink_to(startup)
    pause = {"epoch": 3, "paused": True, "since": 1.0, "until": 2.0, "kind": "bot check", "streak": 1}
    pause["detail"] = f"$(touch {canary})\n`touch {canary}`"
    (shared / "state.7").write_text(f"0123456789abcdef {json.dumps(pause)}\n")
    with Standin(Catalog.of(Video("neighbour01", 33.0, itags=(251,))), media_cache) as youtube:
        rows = [Row("neighbour01", 10_000, 14_000, ("/m/0a0",))]
        project = Project(tmp_path, {"eval_segments": rows}, youtube, {"egress_dir": str(tmp_path / "egress")})
        project.prep(1)
        done = project.worker(1)
        assert set(project.merge().status) == {"ok"}
    assert startup.read_text() == "# first\n"
    assert not canary.exists()
    history = shared / "pauses.jsonl"
    assert not history.is_symlink()
    assert json.loads(history.read_text().splitlines()[-1])["event"] == "reopened", "the probe ended the pause"
    (kept,) = shared.glob("damaged.*.pauses.jsonl")
    assert kept.is_symlink() and "pauses.jsonl" in done.stderr
