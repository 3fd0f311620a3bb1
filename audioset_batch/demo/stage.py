"""Shared by both demos: their folder, the download of made-up clips, and running commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from audioset_batch.demo.lists import MadeUpSegment, write_lists
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.merge import MergeResult, merge
from audioset_batch.standin import Catalog, Fault, Standin, Video

SHARDS: Final = 4
CHECKOUT: Final = Path(__file__).resolve().parents[2]
_MARK: Final = ".audioset-batch-demo"
_PROBED: Final = "good_video0"


def empty_folder(folder: Path) -> None:
    """Make `folder`, or empty it if an earlier demo made it.

    Raises:
        UsageError: it is not empty, and no earlier demo made it.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise UsageError(f"{folder} is not empty and no demo made it: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def download_clips(
    folder: Path,
    base: Path,
    catalog: Catalog,
    classes: Sequence[tuple[str, str]],
    subsets: Mapping[str, Sequence[MadeUpSegment]],
    *,
    slurm: bool,
    faults: Sequence[Fault] = (),
    changes: Mapping[str, Any] | None = None,
    say: Callable[[str], None],
) -> MergeResult:
    """Run prep, four shards and merge in `folder/data`, against a stand-in that offers `catalog`.

    Args:
        folder: The folder of the demo.
        base: The config to start from; its only egress becomes the stand-in.
        catalog: The videos that the stand-in offers.
        classes: (MID, name) by index.
        subsets: The rows of each subset.
        slurm: Run the shards as an array job instead of in parallel on this machine.
        faults: Faults of the stand-in.
        changes: Sections that replace those of the config.
        say: Called with one line per step.

    Raises:
        UsageError: `base` cannot be read, or the script of the array is missing because this is no checkout.
        InputRefused: a step failed; the message contains its output.
    """
    source, data = folder / "source", folder / "data"
    write_lists(source, classes, subsets)
    with (
        tempfile.TemporaryDirectory(prefix="audioset-batch-demo-") as cache,
        Standin(catalog, Path(cache), log_path=folder / "standin.jsonl") as youtube,
    ):
        youtube.put_video(Video(_PROBED))
        # On a slow machine, encoding on demand takes longer than the timeout of a client.
        youtube.prepare()
        for fault in faults:
            youtube.add_fault(fault)
        access = youtube.access()
        config = _write_config(folder, base, access.proxy, changes or {})
        env = without_proxies() | {"SSL_CERT_FILE": str(access.ca_file), "NO_PROXY": "127.0.0.1"}
        total = sum(map(len, subsets.values()))
        say(f"1. prep: {total} segments of {len(subsets)} subsets into {SHARDS} shards each")
        names = ",".join(subsets)
        run_command(["prep", str(data), "--base-url", str(source), "--subsets", names, "--split", str(SHARDS)], env)
        if slurm:
            say(f"2. sbatch --array=1-{SHARDS} audiosetdl-job-array.s")
            _array(folder, config, data, env)
        else:
            say(f"2. {SHARDS} workers in parallel on this machine (no sbatch answers here)")
            _local(config, data, env)
    say("3. merge and report")
    return merge(data)


def _write_config(folder: Path, base: Path, proxy: str, changes: Mapping[str, Any]) -> Path:
    try:
        values = yaml.safe_load(base.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"demo config {base}: {error}") from error
    values["egress"] = [{**egress, "proxy": proxy} for egress in values.get("egress") or [{"name": "standin"}]]
    values["probe"] = {"ytids": [_PROBED]}
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(values | dict(changes), sort_keys=False))
    return path


def without_proxies() -> dict[str, str]:
    """The environment variables of this process, except those that name a proxy."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def run_command(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """Run one command of this program; returns its standard output.

    Raises:
        InputRefused: it failed; the message contains its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "audioset_batch", *argv], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputRefused(
            f"`audioset-batch {argv[0]}` ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def slurm_answers() -> bool:
    """True if sbatch is installed and a partition is up."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["sinfo", "-h", "-o", "%a"], capture_output=True, text=True, timeout=10, check=False)
        return done.returncode == 0 and "up" in done.stdout
    return False


def _local(config: Path, data: Path, env: Mapping[str, str]) -> None:
    workers = []
    for task in range(1, SHARDS + 1):
        log = config.with_name(f"worker-{task}.log")
        argv = [sys.executable, "-m", "audioset_batch", "worker"]
        argv += ["--config", str(config), "--data-dir", str(data), "--task", str(task)]
        with log.open("wb") as file:
            workers.append((subprocess.Popen(argv, env=env, stdout=file, stderr=file), log))
    # Wait for all before looking at a status, so that no worker is left running.
    statuses = [(worker.wait(), log) for worker, log in workers]
    for status, log in statuses:
        if status not in (0, 1):
            raise InputRefused(f"a worker ended with status {status}:\n{log.read_text()}")


def _array(folder: Path, config: Path, data: Path, env: Mapping[str, str]) -> None:
    script = CHECKOUT / "audiosetdl-job-array.s"
    if not script.exists():
        raise UsageError(f"{script} is not there: run the demo from a checkout, or with --no-slurm")
    env = {**env, "AUDIOSET_CONFIG": str(config), "DATADIR": str(data), "SRCDIR": str(CHECKOUT)}
    argv = ["sbatch", "--wait", f"--array=1-{SHARDS}", "--cpus-per-task=1", "--mem=500M", "--time=10", str(script)]
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        logs = "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
        raise InputRefused(f"sbatch ended with status {done.returncode}:\n{done.stderr}{logs}")
