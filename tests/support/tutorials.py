"""A place where the commands of a tutorial can run as they stand: a checkout, a home, a YouTube on the loopback."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from audioset_batch.standin import Catalog, Outcome, Standin, Video
from tests.support.loopback import make_rows, write_lists
from tests.support.loopback.dataset import CLASSES, Row

ROOT = Path(__file__).parents[2]
PROBES = ("jNQXAC9IVRw", "dQw4w9WgXcQ")
DOG = "/m/0bt9lr"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in `docs`. Those in `sh` are for reading only: they need the network, or an editor."""
    return re.findall(rf"(?s)```{language}\n(.*?)```", (ROOT / "docs" / page).read_text())


@dataclass
class Place:
    """Where commands run."""

    checkout: Path
    env: dict[str, str]
    transcript: list[str] = field(default_factory=list)

    def run(self, script: str, *, status: tuple[int, ...] = (0,)) -> str:
        """Run a block with bash, from the checkout; returns what it said."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        self.transcript.append(f"$ {script}\n{done.stdout}{done.stderr}")
        assert done.returncode in status, f"status {done.returncode}\n" + "\n".join(self.transcript)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr


def dog_rows(count: int, seed: int) -> list[Row]:
    """Made-up segments, every second one with the label Dog."""
    rows = make_rows(count, seed=seed)
    return [
        Row(row.ytid, row.start_ms, row.end_ms, (DOG, *row.labels) if number % 2 else row.labels)
        for number, row in enumerate(rows)
    ]


@contextmanager
def place(
    folder: Path, subsets: dict[str, list[Row]], data: Path, bases: dict[str, str], media: Path
) -> Iterator[Place]:
    """A copy of what a user's checkout has, with this Python as its environment.

    Args:
        folder: For everything.
        subsets: Lists that lie in the data directory already, as if fetched; the videos of one in six are gone.
        data: The data directory.
        bases: Configs that stand in for those of the checkout: without the budget of a real address.
        media: Where the made-up videos are.
    """
    checkout = folder / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("jobs", "configs"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in ("audiosetdl-job-array.s", "download_subset_files.sh"):
        shutil.copy(ROOT / name, checkout)
    for name, text in bases.items():
        (checkout / "configs" / name).write_text(text)
    (checkout / "audioset_batch").symlink_to(ROOT / "audioset_batch")
    # Without a config the budget of a real address would hold, twelve seconds for each video.
    no_budget = (
        'case "$1 $*" in *--config*) ;; download*|check*) set -- "$@" --set egress.0.videos_per_hour=null;; esac'
    )
    for name, lines in {
        "python": f'exec "{sys.executable}" "$@"',
        "audioset-batch": f'{no_budget}\nexec "{sys.executable}" -m audioset_batch "$@"',
    }.items():
        program = checkout / ".venv" / "bin" / name
        program.write_text(f"#!/bin/bash\n{lines}\n")
        program.chmod(0o755)
    write_lists(data, subsets)
    with (data / "class_labels_indices.csv").open("a") as file:
        file.write(f'{len(CLASSES)},{DOG},"Dog"\n')
    needs = {row.ytid: row.end_ms / 1000 for rows in subsets.values() for row in rows}
    catalog = Catalog.from_ids(
        needs, seed=5, unavailable_share=1 / 6, outcomes=(Outcome.REMOVED, Outcome.GEO_BLOCKED), seconds=(60.0,)
    )
    with Standin(catalog, media) as youtube:
        for ytid in PROBES:
            youtube.put_video(Video(ytid))
        access = youtube.access()
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "DATADIR"}
        yield Place(
            checkout,
            plain
            | {
                "HOME": str(folder / "home"),
                "PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}",
                "HTTPS_PROXY": access.proxy,
                "SSL_CERT_FILE": str(access.ca_file),
                "PYTHONPATH": str(ROOT),
            },
        )
