"""`audioset-batch download`: the whole job on one machine, with the options of audiosetdl's script."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioset_batch.cli.argument_types import count, positive, subset_list
from audioset_batch.cli.common import add_config_options, config_from, named_data_dir
from audioset_batch.cli.worker_cmd import update_weekly
from audioset_batch.model import SUBSETS

if TYPE_CHECKING:
    from audioset_batch.config import Config
    from audioset_batch.layout import DataDir, ShardId

_SOURCES = dict(zip(SUBSETS, ("eval_path", "balanced_path", "unbalanced_path"), strict=True))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `download`."""
    parser = commands.add_parser(
        "download",
        help="download everything on one machine, without SLURM",
        description="Prepare DATADIR if it has no shards yet, then process all shards. Run it again to continue. "
        "Options win over the config. All options of audiosetdl's script are accepted.",
    )
    parser.add_argument("data_dir", nargs="?", type=Path, metavar="DATADIR", help="default: data_dir of the config")
    add_config_options(parser, runs=True)
    add = parser.add_argument_group("what to download (if DATADIR is not prepared yet)").add_argument
    add("--subsets", type=subset_list, metavar="A,B", help="default: all three, or those with a file option")
    add("-e", "--eval", dest="eval_path", metavar="FILE|URL", help="CSV of the eval segments")
    add("-b", "--balanced-train", dest="balanced_path", metavar="FILE|URL", help="CSV of the balanced train segments")
    add(
        "-u",
        "--unbalanced-train",
        dest="unbalanced_path",
        metavar="FILE|URL",
        help="CSV of the unbalanced train segments",
    )
    add("--base-url", metavar="URL|DIR", help="folder with the CSVs (default: Google's)")
    add("--labels", metavar="NAMES", help="only segments with one of these labels, e.g. 'Dog,Speech'")
    add("--limit", type=positive, metavar="N", help="only the first N segments of each subset")
    add("--allow-partial", action="store_true", help="accept a file that was cut off")
    add("--skip-bad-rows", action="store_true", help="skip bad rows and write them to SUBSET.rejected.csv")
    add = parser.add_argument_group("audio").add_argument
    add("-af", "--audio-format", choices=("flac", "wav", "ogg", "mp3"), help="default: flac")
    add("-ac", "--audio-codec", metavar="CODEC", help="must fit the format: flac, pcm_s16le, vorbis, mp3")
    add("-asr", "--audio-sample-rate", type=positive, metavar="HZ", help="default: 48000")
    add("-abd", "--audio-bit-depth", type=int, choices=(16, 24, 32), help="default: 16")
    add = parser.add_argument_group("video").add_argument
    add(
        "-vm",
        "--video-mode",
        choices=("none", "bestvideo", "bestvideoaudio", "bestvideowithaudio"),
        help="default: none",
    )
    add("-vf", "--video-format", choices=("mp4",), help="default: mp4")
    add("-vc", "--video-codec", choices=("h264",), help="default: h264")
    add("-vfr", "--video-frame-rate", type=positive, metavar="FPS", help="default: 30")
    add = parser.add_argument_group("the run").add_argument
    add("-nr", "--num-retries", type=count, metavar="N", help="retries of transient errors (default: 3)")
    add("-n", "--num-workers", type=positive, metavar="N", help="segments in flight (default: 8)")
    add("-nl", "--no-logging", action="store_true", help="write no log lines")
    add("-lp", "--log-path", type=Path, metavar="FILE", help="also write the log to this file")
    add("-v", "--verbose", action="store_true", help="also log every retry")
    add = parser.add_argument_group("accepted and not needed (FFmpeg is built in)").add_argument
    add("-f", "--ffmpeg", metavar="PATH", help=argparse.SUPPRESS)
    add("-fp", "--ffprobe", metavar="PATH", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare if needed, download, and return the contract's exit status."""

    for name in ("ffmpeg", "ffprobe"):
        if getattr(args, name) is not None:
            print(f"warning: --{name} is not needed: FFmpeg is built in (PyAV)", file=sys.stderr)
    config = _with_options(config_from(args, args.data_dir), args)
    root = named_data_dir(config)
    _check_codec(args.audio_codec, config.audio.format)

    update_weekly(config, args)
    from audioset_batch.worker.pool import start_fork_server

    start_fork_server()
    from audioset_batch.cli.log import log_to_stderr
    from audioset_batch.layout import DataDir
    from audioset_batch.worker.preflight import check_clients_apart
    from audioset_batch.worker.run import run_shards

    if not args.no_logging:
        log_to_stderr(args.verbose, args.log_path)
    data = DataDir(root)
    check_clients_apart(config)
    subsets = _prepare(args, data, config)
    shards = [shard for subset in subsets for shard in data.shards(subset)]
    result = run_shards(config, data, shards)
    print(", ".join(f"{count:,} {status}" for status, count in result.counts.items() if count))
    _print_failed(data, shards)
    print(f"next: audioset-batch merge {root}")
    return result.exit_code


def _print_failed(data: DataDir, shards: list[ShardId]) -> None:
    """Why segments failed, and what to do about it."""
    from audioset_batch.reasons import TRANSIENT_REASONS
    from audioset_batch.record.state import read_state

    failed: Counter[str] = Counter()
    for shard in shards:
        state = read_state(data.state(shard))
        if state is not None:
            failed.update({reason: n for reason, n in state.reasons.items() if reason in TRANSIENT_REASONS})
    if failed:
        print(f"failed: {', '.join(f'{reason} {count:,}' for reason, count in failed.most_common())}")
        print(
            "the same command tries these again; `audioset-batch check` says whether YouTube can be reached from here, "
            "`audioset-batch clip DATADIR YTID` what came of one"
        )


def _prepare(args: argparse.Namespace, data: Any, config: Config) -> list[str]:
    """Make what shards are missing; returns the subsets to run."""
    from audioset_batch.errors import UsageError
    from audioset_batch.fetch import FetchOptions
    from audioset_batch.plan.filters import Filters
    from audioset_batch.plan.prep import PrepRequest, prep
    from audioset_batch.plan.split import choice_of

    sources = {subset: path for subset, name in _SOURCES.items() if (path := getattr(args, name)) is not None}
    present: list[str] = data.subsets_present()
    wanted = args.subsets or tuple(sources) or tuple(present)
    if not wanted:
        wanted = SUBSETS if config.source.subsets == "present" else config.source.subsets
    missing = tuple(subset for subset in wanted if subset not in present)
    _check_sources(data, sources, wanted, missing)
    if args.labels is not None or args.limit is not None:
        asked = " ".join((args.labels or "").split())
        choice = Filters((asked,) if asked else (), args.limit, wording=asked).describe()
        other = [subset for subset in wanted if subset not in missing and choice_of(data, subset) != choice]
        if other:
            planned = choice_of(data, other[0]) or "all rows"
            raise UsageError(
                f"{data.root} is prepared already, {other[0]} with {planned}: its shards are what is downloaded. To "
                "plan other rows, run audioset-batch prep with --labels or --limit; what is recorded stays"
            )
    if missing:
        prep(
            PrepRequest(
                root=data.root,
                base=args.base_url or config.source.base_url,
                sources=sources,
                subsets=missing,
                labels=args.labels,
                limit=args.limit,
                allow_partial=args.allow_partial,
                skip_bad_rows=args.skip_bad_rows,
                fetching=FetchOptions(say=lambda text: print(text, file=sys.stderr)),
            )
        )
    return [subset for subset in dict.fromkeys((*SUBSETS, *present)) if subset in wanted]


def _check_sources(data: DataDir, sources: Mapping[str, str], wanted: Sequence[str], missing: Sequence[str]) -> None:
    """A file that somebody names is what is downloaded, or they are told why not."""
    from audioset_batch.errors import UsageError
    from audioset_batch.fetch import is_copy, require_there

    for subset, source in sources.items():
        if subset not in wanted:
            raise UsageError(
                f"{source} is for {subset}, which --subsets leaves out: name it there, or leave the file out"
            )
        if subset in missing:
            continue
        require_there(source)
        target = data.segments_csv(subset)
        same = is_copy(source, target)
        if same is None:
            print(
                f"{subset} is prepared already: its shards are downloaded, {source} is not looked at", file=sys.stderr
            )
        elif not same:
            raise UsageError(
                f"{data.root} is prepared already, with another file than {source}: its shards are what is downloaded. "
                f"Name another DATADIR, or copy the file to {target} and run audioset-batch prep"
            )


def _with_options(config: Config, args: argparse.Namespace) -> Config:
    """The config with the command line's values in it, validated again."""
    from audioset_batch.config import load_config

    given = {
        "audio.format": args.audio_format,
        "audio.sample_rate": args.audio_sample_rate,
        "audio.bit_depth": args.audio_bit_depth,
        "video.mode": args.video_mode,
        "video.frame_rate": args.video_frame_rate,
        "worker.retries": args.num_retries,
        "worker.threads": args.num_workers,
    }
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    if not overrides:
        return config
    validated = load_config(args.config, [*args.overrides, *overrides], trusted=args.trust_config)
    return validated.model_copy(update={"data_dir": config.data_dir})


def _check_codec(codec: str | None, audio_format: str) -> None:
    from audioset_batch.errors import UsageError

    fitting = {
        "flac": ("flac",),
        "wav": ("pcm_s16le", "pcm_s24le", "pcm_s32le", "wav"),
        "ogg": ("vorbis", "libvorbis", "ogg"),
        "mp3": ("mp3", "libmp3lame"),
    }[audio_format]
    if codec is not None and codec not in fitting:
        raise UsageError(
            f"--audio-codec {codec} does not fit --audio-format {audio_format}: expected {' or '.join(fitting)}; "
            "the bit depth is --audio-bit-depth"
        )
