"""A cookie file is read, warned about, and found nowhere afterwards."""

from pathlib import Path

import pytest
from loopback import Project, make_rows

from audioset_batch.standin import Catalog, Standin

SECRET = "f00dcafe-never-to-be-seen"


def test_the_secret_is_nowhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, media_cache: Path) -> None:
    rows = make_rows(4, seed=3)
    catalog = Catalog.from_ids({row.ytid: row.end_ms / 1000 for row in rows}, seconds=(60.0,))
    cookies = tmp_path_factory.mktemp("home") / "cookies.txt"
    cookies.write_text(f"# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2000000000\tSID\t{SECRET}\n")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with Standin(catalog, media_cache, log_path=tmp_path_factory.mktemp("log") / "log") as youtube:
        youtube.prepare()
        project = Project(tmp_path / "project", {"eval_segments": rows}, youtube)
        project.settings["egress"][0]["cookies"] = str(cookies)
        project.write_config()
        project.prep(1)
        argv = ("download", str(project.data), "--config", str(project.config), "--verbose", "--subsets", "eval")
        done = project.run(*argv, env=project.env | {"TMPDIR": str(temporary)})
        project.merge()
        project.run("report", str(project.data))
    assert "uses cookies: YouTube may close an account" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    for path in [*project.data.rglob("*"), *temporary.rglob("*")]:
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert cookies.read_text().endswith(f"{SECRET}\n"), "the original is left as it was"
