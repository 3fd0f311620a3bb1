"""The stand-in as a process, on its own or around one command.

    python -m audioset_batch.standin -- audioset-batch download /tmp/try --base-url examples/lists --subsets eval
    python -m audioset_batch.standin --catalog FILE.json --cache DIR

With a COMMAND after `--`, the command gets proxy, certificate and cache variables that lead it to the stand-in,
signals are passed on to it, and its exit status is returned. STANDIN_CONTROL_URL is where `ControlClient` switches
faults on and off meanwhile.

Without --catalog, every id is a video of ten minutes. A catalogue is what `Catalog.save` writes; of a video only
`ytid` must be there, everything else is as in `catalog.Video`:

    {"default": null, "videos": [
        {"ytid": "aaaaaaaaaaa", "seconds": 60, "itags": [140, 251]},
        {"ytid": "aaaaaaaaaab", "outcome": "removed", "interstitial": true},
        {"ytid": "aaaaaaaaaac", "tracks": [{"language": "ja"}, {"language": "de", "kind": "dubbed", "default": true}]},
        {"ytid": "aaaaaaaaaad", "kids": true},
        {"ytid": "aaaaaaaaaae", "sabr": ["*"], "hls": true},
        {"ytid": "aaaaaaaaaaf", "locks": {"251": "cipher"}, "ad_seconds": 5},
        {"ytid": "aaaaaaaaaag", "answers": {"VISIONOS": {"playabilityStatus": {"status": "ERROR", "reason": "..."}}}}]}

Writes one JSON object with `proxies`, `ca_file`, `control_url` and `pid` to `--ready-file` once it answers and,
without a COMMAND, to standard output. Without a COMMAND it ends on TERM or INT with status 0.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audioset_batch.standin.catalog import Catalog, Video
from audioset_batch.standin.command import environment, run_command
from audioset_batch.standin.faults import Allowance
from audioset_batch.standin.library import default_cache
from audioset_batch.standin.server import Standin

_PARENT_POLL_SECONDS: Final = 0.5
_ANY_VIDEO_SECONDS: Final = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop, or until the command has ended; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    at = given.index("--") if "--" in given else len(given)
    command = given[at + 1 :]
    parser = _parser()
    args = parser.parse_args(given[:at])
    if at < len(given) and not command:
        parser.error("expected a command after --")
    if command and args.with_parent:
        parser.error("--with-parent: with a command the stand-in ends when the command does")
    if command and args.cache is None:
        args.cache = default_cache()
    standin = _standin(parser, args)
    if command:
        with standin:
            _begin(standin, args)
            return run_command(command, environment(standin))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if args.with_parent:
        threading.Thread(target=_follow_parent, args=(os.getppid(), stop), daemon=True).start()
    with standin:
        print(_begin(standin, args), flush=True)  # noqa: T201
        stop.wait()
    return 0


def _standin(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Standin:
    catalog = Catalog(default=Video("any other id", seconds=_ANY_VIDEO_SECONDS))
    if args.catalog is not None:
        try:
            catalog = Catalog.load(args.catalog)
        except OSError as error:
            parser.error(f"--catalog {args.catalog}: cannot be read: {error.strerror}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            parser.error(
                f"--catalog {args.catalog}: expected what Catalog.save writes: {type(error).__name__}: {error}"
            )
    names = args.egress or ["direct"]
    if args.port and len(args.port) != len(names):
        parser.error(f"expected a --port for each of {len(names)} egresses, or none, got {len(args.port)}")
    allowance = None
    if args.allowance is not None:
        allowance = Allowance(args.allowance, args.allowance_window, args.allowance_window)
    return Standin(
        catalog,
        args.cache,
        egresses=names,
        ports=args.port,
        control_port=args.control_port,
        log_path=args.log,
        seed=args.seed,
        allowance=allowance,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audioset_batch.standin",
        usage="%(prog)s [options] [-- COMMAND [ARGUMENT ...]]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--catalog", type=Path, help="JSON written by Catalog.save")
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder for the synthesised media (default: with a command a kept one, else a temporary one)",
    )
    parser.add_argument(
        "--egress", action="append", metavar="NAME", help="name of an egress; repeatable (default: direct)"
    )
    parser.add_argument("--port", action="append", type=int, help="port of each egress, in order; default 0: any")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path, help="written, whole, when it answers")
    parser.add_argument("--log", type=Path, help="append every event as a JSON line")
    parser.add_argument("--seed", type=int, default=0, help="for faults with a probability")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="before each answer")
    parser.add_argument("--allowance", type=int, metavar="N", help="block an egress after N resolves in a window")
    parser.add_argument("--allowance-window", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--prepare", action="store_true", help="make all media before answering")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    return parser


def _begin(standin: Standin, args: argparse.Namespace) -> str:
    """Prepare what the options ask for and write the ready file; returns what is in it."""
    standin.set_delay(args.delay)
    if args.prepare:
        standin.prepare()
    text = json.dumps({**standin.describe(), "pid": os.getpid()})
    ready_file: Path | None = args.ready_file
    if ready_file is not None:
        temporary = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(ready_file)
    return text


def _follow_parent(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent and not stop.wait(_PARENT_POLL_SECONDS):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
