"""`audioset-batch embed` and `audioset-batch fetch-weights`: VGGish embeddings of one's own clips."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import positive, subset_list
from audioset_batch.errors import Interrupted, UsageError
from audioset_batch.paths import expand_home

if TYPE_CHECKING:
    from audioset_batch.learn.signals import StopSignal
    from audioset_batch.learn.vggish.engine import Engine
    from audioset_batch.learn.vggish.inputs import ShardOf, Sound
    from audioset_batch.learn.vggish.job import JobResult

_PROGRESS_SECONDS = 30.0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `embed` and `fetch-weights`."""
    _register_embed(commands)
    fetch = commands.add_parser(
        "fetch-weights",
        help="download the weights and PCA parameters of VGGish (277 MiB)",
        description="Download vggish_model.ckpt and vggish_pca_params.npz, and check their MD5. Run it again to "
        "resume.",
    )
    fetch.add_argument("--weights-dir", type=Path, metavar="DIR", help=_DIR_HELP)
    fetch.add_argument("--base-url", metavar="URL", help="folder URL of both files (default: Google's)")
    fetch.set_defaults(run=run_fetch)


_DIR_HELP = "folder of the weights (default: $AUDIOSET_WEIGHTS, else audioset-batch/vggish in the user's cache)"


def _register_embed(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "embed",
        help="compute VGGish embeddings of clips, in the format of the released features",
        description="Compute VGGish embeddings of the clips of a merged data directory, or of any folder of audio. "
        "Run it again after an interruption: it keeps finished work. Exit status: 1 a clip could not be read; 75 "
        "after SIGTERM, SIGUSR1 or Ctrl-C.",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="DATADIR", help="data directory, or folder of audio")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="use `data_dir` of this config if you give no DATADIR"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: DATADIR/embeddings)")
    parser.add_argument("--format", choices=("tfrecord", "parquet"), default="tfrecord")
    parser.add_argument("--shard", type=shard_of, metavar="K/N", help="only part K of N, e.g. in an array job")
    parser.add_argument("--subsets", metavar="A,B", help="only these subsets of the manifest")
    parser.add_argument("--overwrite", action="store_true", help="discard the results of earlier runs of this shard")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="vggish_model.ckpt, .pth, .keras or .npz")
    parser.add_argument("--pca", type=Path, metavar="FILE", help="vggish_pca_params.npz or torchvggish's .pth")
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help=_DIR_HELP)
    parser.add_argument("--random-weights", type=int, metavar="SEED", help="use untrained weights, to test the program")
    parser.add_argument(
        "--final-relu",
        action="store_true",
        help="add a ReLU at the end, as in torchvggish and in Google's code before 2020",
    )
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="examples per batch (default: 64)")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads for decoding (default: the available CPUs)"
    )
    parser.add_argument(
        "--smoke-test", action="store_true", help="run Google's published test of the weights, and exit"
    )
    parser.set_defaults(run=run)


def shard_of(text: str) -> ShardOf:
    """Type of `--shard K/N`."""
    from audioset_batch.learn.vggish.inputs import ShardOf

    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count) <= 9999):
        raise argparse.ArgumentTypeError(f"{text!r}: expected K/N with 1 <= K <= N <= 9999, e.g. 3/10")
    return ShardOf(int(number), int(count))


def run(args: argparse.Namespace) -> int:
    """Embed one shard, or run the smoke test."""
    if args.smoke_test:
        return _run_smoke_test(args)
    from audioset_batch.learn.signals import stop_on_signal
    from audioset_batch.slurm.job import requeue_or_tell

    root = _root(args)
    progress = _Progress()
    try:
        with stop_on_signal() as stop:
            clips, shard = _clips(args, root)
            if not clips and shard.count == 1:
                raise UsageError(
                    f"{root}: found no clip to embed (status ok in the manifest, or audio files in a folder)"
                )
            return _embed(args, root, clips, shard, stop, progress)
    except Interrupted:
        # A job that gets nothing done before its time limit would be requeued forever.
        if progress.any and stop.is_preemption:
            requeue_or_tell()
        raise


def _root(args: argparse.Namespace) -> Path:
    folder: Path | None = args.folder
    if folder is None and args.config is not None:
        from audioset_batch.config import load_config

        folder = load_config(args.config, trusted=True, secrets=False).data_dir
    if folder is None:
        raise UsageError("name a data directory or a folder of audio (or a --config that does), or --smoke-test")
    root = expand_home(folder).resolve()
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    return root


def _embed(
    args: argparse.Namespace,
    root: Path,
    clips: list[Sound],
    shard: ShardOf,
    stop: StopSignal,
    progress: _Progress,
) -> int:
    from audioset_batch.learn.vggish.job import EmbedJob
    from audioset_batch.learn.vggish.store import ShardStore, hold_shard

    out = _out(args, root)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder for the embeddings, a file is there")
    threads = args.threads or _cpus()
    with hold_shard(out, shard) as lease:
        engine = _engine(args)
        store = ShardStore(out, shard, args.format, engine.provenance(), overwrite=args.overwrite, check=lease.check)
        result = EmbedJob(clips, engine, store, threads, lambda: bool(stop), progress).run()
    _print_result(result, store.sidecar)
    return 1 if result.damaged else 0


def _clips(args: argparse.Namespace, root: Path) -> tuple[list[Sound], ShardOf]:
    from audioset_batch.learn.vggish.audio import EXTENSIONS
    from audioset_batch.learn.vggish.inputs import ShardOf, clips_of_folder, clips_of_manifest, has_manifest

    shard = args.shard or ShardOf()
    if has_manifest(root):
        try:
            subsets = subset_list(args.subsets) if args.subsets else None
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--subsets {error}") from None
        return clips_of_manifest(root, shard, subsets), shard
    if args.subsets:
        raise UsageError(f"--subsets needs a merged data directory, and {root} is a folder of audio")
    others: list[Path] = []
    clips = clips_of_folder(root, shard, others)
    others = [path for path in others if _out(args, root) not in path.parents]
    if others:
        names = ", ".join(str(path.relative_to(root)) for path in others[:5]) + (" ..." if len(others) > 5 else "")
        endings = ", ".join(EXTENSIONS)
        print(f"skipped {len(others):,} files that are not audio ({endings}): {names}", file=sys.stderr)
    return clips, shard


def _out(args: argparse.Namespace, root: Path) -> Path:
    return expand_home(args.out).resolve() if args.out else root / "embeddings"


def _engine(args: argparse.Namespace) -> Engine:
    from audioset_batch.learn.vggish.engine import load_engine, random_engine
    from audioset_batch.learn.vggish.pca import PCA_NAME, load_pca
    from audioset_batch.learn.vggish.weights import CHECKPOINT_NAME, default_weights_dir, load_weights

    if args.random_weights is not None:
        if args.weights or args.pca:
            raise UsageError("--random-weights excludes --weights and --pca")
        if args.random_weights < 0:
            raise UsageError("--random-weights takes a seed of at least 0")
        print(
            f"WARNING: RANDOM WEIGHTS (seed {args.random_weights}). The network is untrained: these embeddings show "
            "that the program runs and are not comparable with any others. The output says so too.",
            file=sys.stderr,
        )
        return random_engine(args.random_weights, args.batch_size, final_relu=args.final_relu)
    folder = expand_home(args.weights_dir) if args.weights_dir else default_weights_dir()
    # The small file first: what is missing shows before 277 MiB are read.
    pca = load_pca(args.pca or folder / PCA_NAME)
    weights = load_weights(args.weights or folder / CHECKPOINT_NAME)
    return load_engine(weights, pca, args.batch_size, final_relu=args.final_relu)


def _run_smoke_test(args: argparse.Namespace) -> int:
    from audioset_batch.learn.vggish.smoke import smoke_test

    if args.final_relu or args.random_weights is not None:
        raise UsageError("--smoke-test is for the released network: without --final-relu and --random-weights")
    checks = smoke_test(_engine(args))
    for check in checks:
        print(check)
    return 0 if all(check.passed for check in checks) else 1


def run_fetch(args: argparse.Namespace) -> int:
    """Download and check the released files."""
    from audioset_batch.learn.vggish.fetch import BASE_URL, fetch_weights
    from audioset_batch.learn.vggish.weights import default_weights_dir

    folder = expand_home(args.weights_dir) if args.weights_dir else default_weights_dir()
    for path in fetch_weights(folder, args.base_url or BASE_URL, progress=_FetchProgress()):
        print(f"{path}: there, MD5 is right")
    return 0


def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """A line on stderr now and then."""

    def __init__(self) -> None:
        self._begun = self._said = time.monotonic()
        self.any = False

    def __call__(self, done: int, planned: int) -> None:
        self.any = True
        now = time.monotonic()
        if now - self._said >= _PROGRESS_SECONDS:
            self._said = now
            rate = done / (now - self._begun)
            print(f"{done:,} of {planned:,} clips, {rate:.1f} per second", file=sys.stderr, flush=True)


class _FetchProgress:
    """A line on stderr now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, name: str, have: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said >= _PROGRESS_SECONDS:
            self._said = now
            of = f" of {total / 2**20:.0f}" if total else ""
            print(f"{name}: {have / 2**20:.0f}{of} MiB", file=sys.stderr, flush=True)


def _print_result(result: JobResult, sidecar: Path) -> None:
    print(
        f"planned {result.planned:,}: embedded {result.resumed + result.embedded:,} (this run {result.embedded:,}), "
        f"too short {result.too_short:,}, damaged {result.damaged:,}"
    )
    if result.timing.audio:
        print(
            f"{result.timing.audio / result.elapsed:.1f} times real time; network {result.timing.network:.1f} s, "
            f"waiting for clips {result.timing.waiting:.1f} s"
        )
    for problem in result.problems[:10]:
        print(f"  {problem}", file=sys.stderr)
    if len(result.problems) > 10:
        print(f"  and {len(result.problems) - 10} more, see {sidecar}", file=sys.stderr)
    for path in result.files:
        print(f"written: {path}")
    print(f"written: {sidecar}")
