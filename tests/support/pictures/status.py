"""Makes docs/images/status.svg: `status --watch` of a real run against the stand-in, a minute and a half long.

    .venv/bin/python -m tests.support.pictures.status

One task is done, two work, one was stopped; one of the two egresses is turned away by a bot check. The name of this
machine and of the folder are replaced.
"""

import dataclasses
import io
import re
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from audioset_batch.layout import DataDir
from audioset_batch.record.settings import egress_config
from audioset_batch.standin import Catalog, Outcome, Standin
from audioset_batch.standin.faults import Block
from audioset_batch.status.collect import Overview, collect
from audioset_batch.status.colour import coloured
from audioset_batch.status.text import fitting
from tests.support import CHECKOUT
from tests.support.loopback import Project, make_rows
from tests.support.running import Worker
from tests.support.waiting import wait_until

LINES, COLUMNS = 30, 88
GONE = (Outcome.REMOVED, Outcome.PRIVATE, Outcome.NONEXISTENT, Outcome.ACCOUNT_TERMINATED, Outcome.COPYRIGHT_CLAIM)
WAYS = ("direct", "proxy-b")
WORKER = {"processes": 1, "threads": 3, "state_seconds": 1, "segment_timeout": 60}


def run(folder: Path) -> Overview:
    """A run, looked at in its middle."""
    subsets = {"eval_segments": make_rows(48, 1), "balanced_train_segments": make_rows(80, 2)}
    videos = {row.ytid: row.end_ms / 1000 for rows in subsets.values() for row in rows}
    catalog = Catalog.from_ids(videos, unavailable_share=0.25, outcomes=GONE, seconds=(50.0,), itags=(140, 251))
    with ExitStack() as running:
        youtube = running.enter_context(Standin(catalog, folder / "media", egresses=WAYS))
        youtube.prepare()
        youtube.set_delay(0.3)
        egress = [{"name": name, "proxy": youtube.access(name).proxy, "videos_per_hour": 9000} for name in WAYS]
        project = Project(folder, subsets, youtube, {"worker": WORKER, "egress": egress})
        project.prep(4)
        data = DataDir(project.data)

        def look() -> Overview:
            return collect(data, egress_config(data), ask_slurm=False)

        project.worker(1)
        stopped = running.enter_context(Worker(project, 4))
        wait_until(lambda: len(stopped.rows()) > 48, "rows of the task that will stop")
        stopped.send(signal.SIGTERM)
        stopped.end()
        before = len(stopped.rows())
        for task in (2, 3):
            running.enter_context(Worker(project, task))
        wait_until(lambda: len(stopped.rows()) > before + 8, "rows of the tasks that work")
        youtube.block(Block.BOT_CHECK, WAYS[1])
        wait_until(lambda: any(one.state == "paused" for one in look().egresses), "a pause")
        time.sleep(3)
        return look()


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        seen = run(Path(folder))
    shards = [dataclasses.replace(line, host=line.host and f"node{line.seen.shard.number:02d}") for line in seen.shards]
    seen = dataclasses.replace(seen, data_dir="/scratch/audioset", shards=shards)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False, force_terminal=True)
    text = coloured(fitting(seen, most_shards=20, lines=LINES))
    console.print(text.append("\n\nevery 5 s; q ends", style="dim"))
    target = CHECKOUT / "docs" / "images" / "status.svg"
    picture = console.export_svg(title="audioset-batch status /scratch/audioset --watch", unique_id="status")
    target.write_text(re.sub(r"(?s)@font-face \{.*?\}", "", picture))  # it must not load fonts from somewhere


if __name__ == "__main__":
    main()
