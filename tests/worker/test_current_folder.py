"""Nothing is imported from the folder in which a command is called: it may be one that others can write."""

import subprocess
import sys
from pathlib import Path

import yaml

from audioset_batch.config import Config
from audioset_batch.submit.chain import Plan, make_chain
from audioset_batch.submit.script import command_line

EVIL = "open({marker!r}, 'a').write(__name__ + '\\n')\nraise ImportError('from the current folder')\n"


def test_no_module_of_the_current_folder_is_imported(tmp_path: Path) -> None:
    here, marker = tmp_path / "here", tmp_path / "marker"
    (here / "yt_dlp_plugins" / "extractor").mkdir(parents=True)
    for name in ("numpy.py", "socket.py", "yaml.py", "sox.py", "yt_dlp_plugins/extractor/x.py"):
        (here / name).write_text(EVIL.format(marker=str(marker)))
    config = tmp_path / "site.yaml"
    config.write_text(yaml.safe_dump({"youtube": {"args": ["--no-such-option"]}}))
    for program in (
        [str(Path(sys.executable).parent / "audioset-batch")],
        [sys.executable, "-P", "-m", "audioset_batch"],
    ):
        argv = [*program, "download", str(tmp_path / "data"), "--config", str(config)]  # asks the fork server, and ends
        done = subprocess.run(argv, cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "no such option" in done.stderr, done.stderr
    assert not marker.exists(), marker.read_text()


def test_jobs_do_not_look_there_either() -> None:
    plan = Plan(root=Path("/data"), prep=(), shards=1, tasks=(1,), worker_options=())
    for step in make_chain(plan, Config(), 1001):
        assert f"{sys.executable} -P -m audioset_batch" in command_line(step)
