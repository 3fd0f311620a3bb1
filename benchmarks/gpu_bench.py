"""Speed of `embed` and `train` on one GPU, and the share of the time that the GPU waits.

`python benchmarks/gpu_bench.py [--clips 1000] [--out benchmarks/results/gpu.json]` runs with every Keras backend that
is installed (jax, torch), each in a process of its own, and writes one JSON file; `--render` writes the table of that
file into docs/performance.md. Weights and data are made up: speed does not depend on their values. Less than
five minutes on
an H100. Without a GPU, `--quick` tries every part in small; the results say that there was no card.

What is compared:

- `embed`, files to files, in batches across clips, against one clip after another with the same network, and against
  VGGish in plain PyTorch used clip by clip, as torchvggish is used.
- The network alone on arrays that are in memory: what could be reached if reading and the front end cost nothing.
- `train` of an attention model and of VGG16 with block5, against the same steps on one batch that is never changed (the
  input pipeline left out), against batches of one clip, and for VGG16 against plain PyTorch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROWS = 10
"""Examples of one clip of ten seconds."""
BATCHES = (64, 512, 2048)
QUICK = bool(os.environ.get("GPU_BENCH_QUICK"))
"""Small sizes, to try the benchmark where there is no GPU; set by `--quick`, handed to the child processes."""
if QUICK:
    BATCHES = (4,)
CLASSES = 527
WARM_UP = 10
"""Training steps that are not counted: they compile."""


class Busy:
    """Samples how busy the GPU is, by `nvidia-smi`: the share of time in which at least one kernel ran."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Busy:
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if self._stopped:
                continue
            with contextlib.suppress(ValueError):
                self._samples.append(float(line) / 100)

    def restart(self) -> None:
        """Forget what was sampled so far."""
        self._samples.clear()

    def stop(self) -> None:
        """Take no further samples."""
        self._stopped = True

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def waits(self) -> float | None:
        """Share of the time in which the GPU ran nothing, 0 to 1; None without a GPU or in less than a sample."""
        return round(1 - statistics.mean(self._samples), 3) if self._samples else None


# embed


def embedding(clips: int, out: Path, threads: int) -> dict[str, Any]:
    """Files to files, clip by clip, and the network alone, with the backend of this process."""
    from embed_bench import make_clips

    from audioset_batch.learn.vggish.engine import Engine, random_engine
    from audioset_batch.learn.vggish.network import Network
    from audioset_batch.learn.vggish.pipeline import prepare

    folder = out / "clips"
    folder.mkdir()
    make_clips(folder, min(clips, 100))
    files = sorted(folder.iterdir())
    for index in range(len(files), clips):  # the same sounds under more names: what is read is read from memory anyway
        os.link(files[index % len(files)], folder / f"{index:05d}.flac")
    engine = random_engine(0, 512)
    results: dict[str, Any] = {"device": engine.provenance()["device"], "network_alone": {}, "embed": {}}
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((max(64, *BATCHES), 96, 64)).astype(np.float32)
    for size in BATCHES:
        network = Network(engine.weights, size)
        rate = _rate(lambda network=network, size=size: network.embed(pool[:size]), size)
        results["network_alone"][str(size)] = round(rate)
        sized = Engine(network, engine.pca, engine.weights)
        results["embed"][str(size)] = _embed(sized, folder, out / f"out{size}", threads, clips)
    single = Network(engine.weights, ROWS)
    results["clip_by_clip"] = _clip_by_clip(folder, lambda x: engine.pca.postprocess(single.embed(x)))
    begun = time.perf_counter()
    from concurrent.futures import ThreadPoolExecutor

    from audioset_batch.learn.vggish.inputs import ShardOf, clips_of_folder

    with ThreadPoolExecutor(threads) as workers:
        done = sum(1 for _ in workers.map(prepare, clips_of_folder(folder, ShardOf())))
    results["front_end_alone_clips_per_second"] = round(done / (time.perf_counter() - begun), 1)
    if os.environ["KERAS_BACKEND"] == "torch":
        results |= _plain_torch_vggish(engine, folder, pool)
    return results


def _embed(engine: Any, folder: Path, out: Path, threads: int, clips: int) -> dict[str, Any]:
    from audioset_batch.learn.vggish.inputs import ShardOf, clips_of_folder
    from audioset_batch.learn.vggish.job import EmbedJob
    from audioset_batch.learn.vggish.store import ShardStore

    size = engine.network.batch_size
    for rows in {size, ROWS * clips % size or 1}:
        engine.network.embed(np.zeros((rows, 96, 64), np.float32))
    store = ShardStore(out, ShardOf(), "tfrecord", engine.provenance())
    with Busy() as busy:
        begun = time.perf_counter()
        result = EmbedJob(clips_of_folder(folder, ShardOf()), engine, store, threads).run()
        wall = time.perf_counter() - begun
    return {
        "clips_per_second": round(result.embedded / wall, 1),
        "times_real_time": round(result.timing.audio / wall),
        "network_share_of_wall": round(result.timing.network / wall, 3),
        "waiting_share_of_wall": round(result.timing.waiting / wall, 3),
        "gpu_waits": busy.waits,
    }


def _clip_by_clip(folder: Path, embed: Callable[[Any], Any]) -> dict[str, Any]:
    """One clip after another, nothing overlapping; at most 200 of them."""
    from audioset_batch.learn.vggish.inputs import ShardOf, clips_of_folder
    from audioset_batch.learn.vggish.pipeline import prepare

    some = clips_of_folder(folder, ShardOf())[:200]
    embed(prepare(some[0]).examples)
    with Busy() as busy:
        begun = time.perf_counter()
        for clip in some:
            embed(prepare(clip).examples)
        wall = time.perf_counter() - begun
    return {"clips_per_second": round(len(some) / wall, 1), "gpu_waits": busy.waits}


def _plain_torch_vggish(engine: Any, folder: Path, pool: Any) -> dict[str, Any]:
    """VGGish written in PyTorch with the same weights, used as torchvggish is: one clip per call."""
    import torch
    from gpu_torch import torch_vggish

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = torch_vggish(engine.weights.arrays).to(device).eval()

    def call(examples: Any) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(examples)[:, None].to(device)).cpu().numpy()

    ours, theirs = engine.network.embed(pool[:64]), call(pool[:64])
    return {
        "torch_clip_by_clip": _clip_by_clip(folder, lambda x: engine.pca.postprocess(call(x))),
        "torch_network_alone": {
            str(size): round(_rate(lambda size=size: call(pool[:size]), size)) for size in (ROWS, *BATCHES)
        },
        "largest_difference_of_torch": float(np.abs(ours - theirs).max() / ours.std()),
    }


def _rate(call: Callable[[], Any], examples: int, seconds: float = 0.2 if QUICK else 2.0) -> float:
    """Examples a second, after two calls that are not counted."""
    for _ in range(2):
        call()
    begun, calls = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        call()
        calls += 1
    return examples * calls / (time.perf_counter() - begun)


# train


class Made:
    """Examples that are in memory: quantized embeddings, or grey images."""

    def __init__(self, kind: str, count: int) -> None:
        rng = np.random.default_rng(1)
        self.labels = rng.random((count, CLASSES)) < 3 / CLASSES
        self.video_ids = np.array([f"made{index:07d}" for index in range(count)])
        self._kind = kind
        shape = (count, 224, 224) if kind == "image" else (count, ROWS, 128)
        self._data = rng.integers(0, 256, shape, np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: Any) -> dict[str, Any]:
        if self._kind == "image":
            return {"image": self._data[rows].astype(np.float32)[..., None]}
        frames = (self._data[rows].astype(np.float32) - 128) / 128
        return {"frames": frames, "num_frames": np.full(len(rows), ROWS, np.float32)}


class OneBatch:
    """A source whose every batch is the first one: the input pipeline costs nothing."""

    def __init__(self, source: Any) -> None:
        self._batch = source.batch(0)

    def batch(self, step: int) -> Any:
        return self._batch


class Clocked:
    """Another source, with the time between the step after the warm-up and the last one."""

    def __init__(self, source: Any, last: int, busy: Busy) -> None:
        self._source, self._last, self._busy = source, last, busy
        self.seconds = 0.0

    def batch(self, step: int) -> Any:
        if step == WARM_UP:
            self._busy.restart()
            self.seconds = -time.perf_counter()
        elif step == self._last:
            self.seconds += time.perf_counter()
            self._busy.stop()
        return self._source.batch(step)


def training(steps: int, out: Path) -> dict[str, Any]:
    """Examples a second of two kinds of models."""
    return {
        "DecisionLevelAttentionModel": _train(
            "DecisionLevelAttentionModel", Made("frames", 40 if QUICK else 20_000), 4 if QUICK else 500, steps * 4, out
        ),
        "vgg16": _train("vgg16", Made("image", 8 if QUICK else 1_024), 2 if QUICK else 32, steps, out),
    }


def _train(name: str, examples: Made, batch_size: int, steps: int, out: Path) -> dict[str, Any]:
    from dataclasses import replace

    from audioset_batch.learn.training.options import default_model_options, default_train_options
    from audioset_batch.learn.training.sampling import BatchSource, make_sampler

    model_options = replace(default_model_options(name), num_classes=CLASSES)
    options = replace(
        default_train_options(name), batch_size=batch_size, max_steps=steps, export_model_steps=10**9, log_steps=10**9
    )

    def source(size: int) -> Any:
        return BatchSource(examples, make_sampler(options.balanced_sampling, examples.labels, 0), size, "none", 0)

    whole = _fit(model_options, options, source(batch_size), out / f"{name}-run")
    same = _fit(model_options, options, OneBatch(source(batch_size)), out / f"{name}-same")
    single = _fit(model_options, replace(options, batch_size=1), source(1), out / f"{name}-single")
    result = {
        "batch_size": batch_size,
        "examples_per_second": whole["rate"],
        "gpu_waits": whole["gpu_waits"],
        "one_batch_again_and_again": same["rate"],
        "one_clip_a_step": single["rate"],
    }
    if name == "vgg16" and os.environ["KERAS_BACKEND"] == "torch":
        from gpu_torch import vgg16_examples_per_second

        result["plain_torch"] = vgg16_examples_per_second(examples, batch_size, steps, WARM_UP)
    return result


def _fit(model_options: Any, options: Any, source: Any, folder: Path) -> dict[str, Any]:
    """A run of the real `Trainer`; the first steps, which compile, are not counted. VGG16 trains block5 as well."""
    from dataclasses import replace

    from audioset_batch.learn.training.loop import Phase, Trainer
    from audioset_batch.learn.training.models import build_model
    from audioset_batch.learn.training.models.vgg16 import set_finetuning

    folder.mkdir()
    last = WARM_UP + options.max_steps
    options = replace(options, max_steps=last)
    model = build_model(model_options)
    prepare = (lambda model: set_finetuning(model, True)) if model_options.model == "vgg16" else (lambda model: None)
    with Busy() as busy:
        clocked = Clocked(source, last - 1, busy)
        Trainer(model, model_options.label_loss, clocked, options, [Phase(last, 1e-4, prepare)], folder).run()
    return {
        "rate": round((options.max_steps - 1 - WARM_UP) * options.batch_size / clocked.seconds, 1),
        "gpu_waits": busy.waits,
    }


# all of it


def machine() -> dict[str, Any]:
    """The card, the cores and the versions; no names of hosts or people."""
    card = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or None
    versions = {"python": platform.python_version()}
    for name in ("keras", "jax", "torch", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"card": card, "cores": len(os.sched_getaffinity(0)), "versions": versions}


def backends() -> Iterator[str]:
    """Those of jax and torch that are installed."""
    return (name for name in ("jax", "torch") if importlib.util.find_spec(name) is not None)


def one_backend(args: argparse.Namespace) -> None:
    """Measure with the backend of this process; prints one line of JSON."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        threads = len(os.sched_getaffinity(0))
        result = {"embed": embedding(args.clips, out, threads)}
        sys.stderr.write(json.dumps(result) + "\n")
        result["train"] = training(args.steps, out)
    sys.stdout.write(json.dumps(result) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu.json")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmark without a GPU")
    parser.add_argument("--render", action="store_true", help="only write the table into docs/performance.md")
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        os.environ["GPU_BENCH_QUICK"] = "1"
        args.clips, args.steps = min(args.clips, 6), min(args.steps, 2)
    if args.backend:
        one_backend(args)
        return 0
    if args.render:
        from gpu_table import render
        from table import replace_between_markers

        text = render(json.loads(args.out.read_text(encoding="utf-8")))
        replace_between_markers(HERE.parent / "docs" / "performance.md", text, "gpu")
        return 0
    results: dict[str, Any] = {"machine": machine(), "clips": args.clips, "steps": args.steps, "backends": {}}
    status = 0
    for name in backends():
        command = [sys.executable, __file__, "--backend", name, "--clips", str(args.clips), "--steps", str(args.steps)]
        begun = time.monotonic()
        done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": name}, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.stderr.write(f"{name}: ended with {done.returncode}\n")
            status = 1
            continue
        results["backends"][name] = json.loads(done.stdout.splitlines()[-1]) | {
            "seconds": round(time.monotonic() - begun)
        }
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
