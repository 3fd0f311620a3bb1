"""`audioset-batch demo`: the whole job on a loopback stand-in for YouTube, with made-up videos.

Prep, four shards (through SLURM where sbatch answers, else in parallel here), merge, a table. Everything talks to
127.0.0.1 only, and nothing is left running.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.merge import MergeResult, merge
from audioset_batch.standin import Access, Catalog, Fault, Standin, Trouble, Video

SHARDS: Final = 4
SEGMENTS: Final = 48
_MARK: Final = ".audioset-batch-demo"
_UNAVAILABLE: Final = 0.25
_GOOD_VIDEO: Final = "good_video0"
_SUBSETS: Final = {"eval_segments": SEGMENTS // 2, "balanced_train_segments": SEGMENTS // 2}
_CLASSES: Final = (
    ("/m/09x0r", "Speech"),
    ("/m/0bt9lr", "Dog"),
    ("/m/04rlf", "Music"),
    ("/m/07yv9", "Vehicle"),
    ("/m/01yrx", "Cat"),
    ("/m/03m9d0z", "Wind"),
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Attributes:
        folder: Where everything is.
        merged: Counts and tables.
        through_slurm: True if a real SLURM ran the array.
        seconds: From prep to merge.
    """

    folder: Path
    merged: MergeResult
    through_slurm: bool
    seconds: float


def run_demo(folder: Path, config_file: Path, say: Callable[[str], None], *, slurm: bool | None = None) -> DemoResult:
    """Run the demo in `folder`, which is emptied first if an earlier demo made it.

    Args:
        folder: Made if needed.
        config_file: `configs/demo.yaml`, or one of your own.
        say: Called with one line per step.
        slurm: True or False to decide; None: through SLURM where it answers.

    Raises:
        UsageError: the folder is not empty and not an earlier demo's.
        InputRefused: a step failed; its output is shown.
    """
    _empty(folder)
    started = time.monotonic()
    source, data = folder / "source", folder / "data"
    needs = _write_lists(source)
    catalog = Catalog.from_ids(needs, seed=7, unavailable_share=_UNAVAILABLE, short_share=0.1, seconds=(60.0, 180.0))
    through_slurm = _slurm_answers() if slurm is None else slurm
    with _cache() as cache, Standin(catalog, cache, log_path=folder / "standin.jsonl") as youtube:
        youtube.put_video(Video(_GOOD_VIDEO))
        youtube.board.add(Fault(Trouble.SERVER_ERROR, probability=0.05))
        config = _config(folder, config_file, youtube.access())
        env = _environment(youtube.access())
        say(f"1. prep: {len(needs)} segments of {len(_SUBSETS)} subsets into {SHARDS} shards each")
        _step(
            ["prep", str(data), "--base-url", str(source), "--subsets", ",".join(_SUBSETS), "--split", str(SHARDS)], env
        )
        if through_slurm:
            say(f"2. sbatch --array=1-{SHARDS} audiosetdl-job-array.s")
            _array(folder, config, data, env)
        else:
            say(f"2. {SHARDS} workers in parallel on this machine (no sbatch answers here)")
            _local(config, data, env)
    say("3. merge")
    return DemoResult(folder, merge(data), through_slurm, time.monotonic() - started)


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise UsageError(f"{folder} is not empty and no demo made it: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def _write_lists(source: Path) -> dict[str, float]:
    """CSVs in the released format; returns what each video must at least last, seconds."""
    source.mkdir()
    lines = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(_CLASSES)]
    (source / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *lines]) + "\n")
    needs: dict[str, float] = {}
    number = 0
    for subset, rows in _SUBSETS.items():
        text = [
            "# Segments csv made up for the demo",
            f"# num_ytids={rows}, num_segs={rows}, num_unique_labels={len(_CLASSES)}",
            "# YTID, start_seconds, end_seconds, positive_labels",
        ]
        for _ in range(rows):
            ytid = f"{'-' if number % 12 == 0 else 'd'}emo{number:05d}_{number % 10}"
            start = (number * 10) % 50
            end = start + (10 if number % 11 else 4)
            labels = [_CLASSES[number % len(_CLASSES)][0]]
            if number % 3 == 0:
                labels.append(_CLASSES[(number + 2) % len(_CLASSES)][0])
            text.append(f'{ytid}, {start}.000, {end}.000, "{",".join(labels)}"')
            needs[ytid] = float(end)
            number += 1
        (source / f"{subset}.csv").write_text("\n".join(text) + "\n")
    return needs


def _config(folder: Path, base: Path, access: Access) -> Path:
    """The demo's config with the stand-in as its only way out."""
    try:
        values = yaml.safe_load(base.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"demo config {base}: {error}") from error
    values["egress"] = [{**egress, "proxy": access.proxy} for egress in values.get("egress") or [{"name": "standin"}]]
    values["probe"] = {"ytids": [_GOOD_VIDEO]}
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def _environment(access: Access) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return inherited | {"SSL_CERT_FILE": str(access.ca_file), "NO_PROXY": "127.0.0.1"}


@contextlib.contextmanager
def _cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="audioset-batch-demo-") as name:
        yield Path(name)


def _step(argv: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "audioset_batch", *argv], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputRefused(
            f"`audioset-batch {argv[0]}` ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )


def _worker(config: Path, data: Path, task: int) -> list[str]:
    return [
        sys.executable, "-m", "audioset_batch", "worker",
        "--config", str(config), "--data-dir", str(data), "--task", str(task),
    ]  # fmt: skip


def _local(config: Path, data: Path, env: Mapping[str, str]) -> None:
    workers = []
    for task in range(1, SHARDS + 1):
        log = config.with_name(f"worker-{task}.log")
        with log.open("wb") as file:
            workers.append((subprocess.Popen(_worker(config, data, task), env=env, stdout=file, stderr=file), log))
    for worker, log in workers:
        if worker.wait() not in (0, 1):
            raise InputRefused(f"a worker ended with status {worker.returncode}:\n{log.read_text()}")


def _slurm_answers() -> bool:
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["sinfo", "-h", "-o", "%a"], capture_output=True, text=True, timeout=10, check=False)
        return done.returncode == 0 and "up" in done.stdout
    return False


def _array(folder: Path, config: Path, data: Path, env: Mapping[str, str]) -> None:
    checkout = Path(__file__).resolve().parents[1]
    script = checkout / "audiosetdl-job-array.s"
    if not script.exists():
        raise UsageError(f"{script} is not there: run the demo from a checkout, or with --no-slurm")
    env = {**env, "AUDIOSET_CONFIG": str(config), "DATADIR": str(data), "SRCDIR": str(checkout)}
    argv = ["sbatch", "--wait", f"--array=1-{SHARDS}", "--cpus-per-task=1", "--mem=500M", "--time=10", str(script)]
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        logs = "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
        raise InputRefused(f"sbatch ended with status {done.returncode}:\n{done.stderr}{logs}")
