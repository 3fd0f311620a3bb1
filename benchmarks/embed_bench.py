"""Speed of `embed` on synthetic clips: times real time, share of the front end, batches against clip by clip.

`python benchmarks/embed_bench.py [--clips 40] [--batch-size 64]` prints JSON. The weights are random: speed does not
depend on their values. Take one core with `taskset -c 0`; the number of cores found is part of the output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from audioset_batch.learn.vggish.engine import Engine, random_engine
from audioset_batch.learn.vggish.inputs import ShardOf, clips_of_folder
from audioset_batch.learn.vggish.job import EmbedJob
from audioset_batch.learn.vggish.network import Network
from audioset_batch.learn.vggish.pipeline import prepare
from audioset_batch.learn.vggish.store import ShardStore

SECONDS = 10
RATE = 48000
ROWS = 10
"""Examples of one clip."""


def make_clips(folder: Path, count: int) -> None:
    """Stereo FLAC as the downloader writes it: a few tones in noise."""
    rng = np.random.default_rng(0)
    at = np.arange(SECONDS * RATE) / RATE
    for index in range(count):
        tones = sum(np.sin(2 * np.pi * rng.uniform(80, 8000) * at) for _ in range(3))
        sound = 0.15 * np.stack([tones, tones], axis=1) + 0.02 * rng.standard_normal((at.size, 2))
        soundfile.write(folder / f"{index:04d}.flac", sound, RATE)


def run(engine: Engine, folder: Path, out: Path, threads: int) -> dict[str, float]:
    """The whole job, files to files."""
    store = ShardStore(out, ShardOf(), "tfrecord", engine.provenance())
    begun = time.perf_counter(), time.process_time()
    result = EmbedJob(clips_of_folder(folder, ShardOf()), engine, store, threads).run()
    wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
    return {
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "times_real_time": round(result.timing.audio / wall, 1),
        "times_real_time_per_core": round(result.timing.audio / cpu, 1),
        "network_share_of_wall": round(result.timing.network / wall, 3),
        "outside_network_share_of_wall": round(1 - result.timing.network / wall, 3),
    }


def clip_by_clip(engine: Engine, network: Network, folder: Path) -> dict[str, float]:
    """One clip after another, the network called for each, nothing overlapping."""
    clips = clips_of_folder(folder, ShardOf())
    begun = time.perf_counter()
    front_end = audio = 0.0
    for clip in clips:
        before = time.perf_counter()
        prepared = prepare(clip)
        front_end += time.perf_counter() - before
        audio += prepared.duration
        engine.pca.postprocess(network.embed(prepared.examples))
    wall = time.perf_counter() - begun
    return {
        "wall_seconds": round(wall, 2),
        "times_real_time": round(audio / wall, 1),
        "front_end_share_of_wall": round(front_end / wall, 3),
        "front_end_ms_per_clip": round(1000 * front_end / len(clips), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    engine = random_engine(0, args.batch_size)
    # A network of its own, whose batches are one clip: else 10 examples would be filled up to 16.
    single = Network(engine.weights, ROWS)
    single.embed(np.zeros((ROWS, 96, 64), np.float32))
    for size in {args.batch_size, ROWS * args.clips % args.batch_size or 1}:
        engine.network.embed(np.zeros((size, 96, 64), np.float32))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "clips").mkdir()
        make_clips(root / "clips", args.clips)
        result = {
            "device": engine.provenance()["device"],
            "cores": cores,
            "load_average": round(os.getloadavg()[0], 2),
            "clips": args.clips,
            "batch_size": args.batch_size,
            "batches_across_clips": run(engine, root / "clips", root / "out", cores),
            "clip_by_clip": clip_by_clip(engine, single, root / "clips"),
        }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
