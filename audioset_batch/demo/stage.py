"""What the demos share: their folder, config, environment, and the commands that they run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.standin import Access

SHARDS: Final = 4
CHECKOUT: Final = Path(__file__).resolve().parents[2]
_MARK: Final = ".audioset-batch-demo"


def empty_folder(folder: Path) -> None:
    """Make `folder`, or empty it if an earlier demo made it.

    Raises:
        UsageError: it is not empty and not an earlier demo's.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise UsageError(f"{folder} is not empty and no demo made it: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def write_config(folder: Path, base: Path, access: Access, probe: str, changes: Mapping[str, Any]) -> Path:
    """`base` with the stand-in as its only way out, and with `changes`, as `folder/demo.yaml`.

    Raises:
        UsageError: `base` cannot be read.
    """
    try:
        values = yaml.safe_load(base.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"demo config {base}: {error}") from error
    values["egress"] = [{**egress, "proxy": access.proxy} for egress in values.get("egress") or [{"name": "standin"}]]
    values["probe"] = {"ytids": [probe]}
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(values | dict(changes), sort_keys=False))
    return path


def environment(access: Access) -> dict[str, str]:
    """Of commands that must reach nothing but the stand-in."""
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return inherited | {"SSL_CERT_FILE": str(access.ca_file), "NO_PROXY": "127.0.0.1"}


@contextlib.contextmanager
def media_cache() -> Iterator[Path]:
    """A folder for made-up media, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="audioset-batch-demo-") as name:
        yield Path(name)


def run_command(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """Run one command of this program; returns what it printed.

    Raises:
        InputRefused: it failed; its output is shown.
    """
    done = subprocess.run(
        [sys.executable, "-m", "audioset_batch", *argv], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputRefused(
            f"`audioset-batch {argv[0]}` ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def download(folder: Path, config: Path, data: Path, env: Mapping[str, str], *, through_slurm: bool) -> None:
    """All shards: as an array job, or in parallel on this machine.

    Raises:
        InputRefused: a worker failed in another way than that some segments did.
        UsageError: no checkout, and so no script of the array.
    """
    if through_slurm:
        _array(folder, config, data, env)
    else:
        _local(config, data, env)


def slurm_answers() -> bool:
    """True if there is an sbatch and a partition that is up."""
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
    # All are waited for before one is judged: nothing may be left running.
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
