"""Each egress: can it be reached, and does one clip come through it whole."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import socket
import stat
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from audioset_batch.config import Config
from audioset_batch.config.redact import redact
from audioset_batch.config.reservation import kept_of_the_rate
from audioset_batch.config.schema import Egress
from audioset_batch.egress import DRIFT, EgressPool, Grant
from audioset_batch.errors import (
    AudiosetBatchError,
    EgressBlocked,
    EgressExhausted,
    Interrupted,
    SegmentError,
    UsageError,
)
from audioset_batch.layout import DataDir
from audioset_batch.model import Segment
from audioset_batch.submit.checks.finding import Finding, error, ok, warning
from audioset_batch.worker.child import client_for
from audioset_batch.worker.make_clip import make_clip
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.cookies import read_cookies
from audioset_batch.youtube.streams import RequestContext

_YOUTUBE: Final = ("www.youtube.com", 443)
_CONNECT_SECONDS: Final = 10.0
_SLOT_SECONDS: Final = 20.0
NO_CLIP: Final = "no clip came through"
"""So begins what is said of an egress that was asked for every probe video, and was not blocked."""
_PORTS: Final = {"http": 80, "https": 443}
_SOCKS_PORT: Final = 1080


def check_ways_out(config: Config, data: DataDir) -> Iterator[Finding]:
    """A connection and one probe clip for each egress. A probe counts against the egress's budget."""
    for index, egress in enumerate(config.egress):
        reached = _connect(egress)
        yield reached
        if config.worker.burst and egress.per_hour is not None:
            yield _burst(egress, config.worker.burst)
        if egress.cookies is not None:
            found = _cookies(egress.name, egress.cookies)
            yield found
            if found.level == "error":
                continue
        if reached.level != "error":
            yield _probe(config, data, index)


def _burst(egress: Egress, burst: float) -> Finding:
    kept = kept_of_the_rate(egress, burst)
    return ok(
        f"burst {egress.name}",
        f"worker.burst of {burst:g} s leaves {kept:.0%} of the rate: {(egress.per_hour or 0) * kept:,.0f} of "
        f"{egress.per_hour:,.0f} videos an hour",
    )


def _cookies(name: str, path: Path) -> Finding:
    topic = f"cookies {name}"
    try:
        read_cookies(path)
    except UsageError as problem:
        return error(topic, str(problem), "correct the file, or the path of `cookies:`")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warning(topic, f"others can use {path}, and with it the account", f"chmod go= {path}")
    return warning(
        topic,
        "YouTube may close an account that downloads much",
        "use one that nobody will miss, or none: `cookies: null`",
    )


def _connect(egress: Egress) -> Finding:
    """Open a TCP connection to the proxy, or to YouTube without one."""
    topic = f"egress {egress.name}"
    try:
        host, port, what = _target(egress)
    except ValueError as problem:
        return error(topic, f"its proxy is not a URL: {problem}", "write it as http://HOST:PORT")
    source = None if egress.source_address is None else (egress.source_address, 0)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS, source_address=source):
            return ok(topic, f"{what} {host}:{port} answers")
    except OSError as problem:
        why = problem.strerror or str(problem) or type(problem).__name__
        advice = (
            "no network from here? Nodes without internet need a proxy: egress: [{proxy: http://HOST:PORT}]"
            if what == "YouTube"
            else "is the proxy up, and may this machine use it?"
        )
        if source is not None:
            advice += f" Is {egress.source_address} an address of this machine?"
        return error(topic, f"cannot connect to {what} {host}:{port}: {why}", advice)


def _target(egress: Egress) -> tuple[str, int, str]:
    """Where the first connection goes: host, port, and what that is. `proxy: ""` and `null` as yt-dlp takes them."""
    proxy = egress.proxy
    if proxy is None and not urllib.request.proxy_bypass(_YOUTUBE[0]):
        found = urllib.request.getproxies()
        proxy = found.get("https") or found.get("all")
    if not proxy:
        return (*_YOUTUBE, "YouTube")
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, _SOCKS_PORT), "proxy"


def _probe(config: Config, data: DataDir, index: int) -> Finding:
    """Make one clip of a video known to be good, in a temporary folder."""
    egress = config.egress[index]
    topic = f"probe {egress.name}"
    told = []
    # No data directory yet: then nobody spends its budget either.
    shared = config.egress_dir or (data.egress if data.root.is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="audioset-batch-check-"))
    try:
        with EgressPool((egress,), config.probe, shared or folder / "egress", burst=config.worker.burst) as pool:
            client = client_for(config, index)
            for number, ytid in enumerate(config.probe.ytids):
                grant = _grant(pool)
                if isinstance(grant, Finding):
                    return grant
                with grant:
                    answer = _one_clip(config, client, ytid, folder / f"clip{number}", grant)
                if isinstance(answer, Finding):
                    return answer
                told.append(f"{ytid}: {answer}")
    except AudiosetBatchError as problem:
        return error(topic, str(problem), "correct that in the config, or check the filesystem")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return error(
        topic,
        f"{NO_CLIP}: {'; '.join(told)}",
        "if the videos are gone, name others in probe.ytids; else audioset-batch update-yt-dlp, and look at the proxy",
    )


def _grant(pool: EgressPool) -> Grant | Finding:
    """Leave to ask for a video within a short time; else what keeps us from it."""
    status = pool.describe()[0]
    topic = f"probe {status.name}"
    if status.state == "slow":
        return warning(topic, f"not tried: {status.detail}", "audioset-batch update-yt-dlp")
    if status.state != "open" and status.until is None:
        return warning(topic, "not tried: too many losses, a worker's probe decides", "check again in a minute")
    if status.state != "open":
        until = datetime.datetime.fromtimestamp(status.until or 0, datetime.UTC).isoformat(timespec="seconds")
        return warning(
            topic,
            f"not tried: the egress is paused until {until} ({status.kind}: {status.detail})",
            "audioset-batch update-yt-dlp; workers go on when a probe is good"
            if status.kind == DRIFT
            else "wait: workers probe it themselves when the pause is over",
        )
    late = threading.Event()
    timer = threading.Timer(_SLOT_SECONDS, late.set)
    timer.daemon = True
    timer.start()
    try:
        return pool.acquire(late, lambda grant: grant.release())
    except (Interrupted, EgressExhausted):
        return warning(
            topic, "not tried: its budget is spent by others just now", "nothing to do, or check again later"
        )
    finally:
        timer.cancel()


def _one_clip(config: Config, client: YtDlpClient, ytid: str, stem: Path, grant: Grant) -> Finding | str:
    """A finding that settles it, or why this video gave no clip."""
    topic = f"probe {grant.name}"
    started = time.monotonic()
    segment = Segment("probe", ytid, 2_000, 12_000, ())
    try:
        context = RequestContext(started + config.worker.segment_timeout, max_bytes=config.worker.max_clip_bytes)
        clip = make_clip(segment, client, config, stem, context)
    except EgressBlocked as problem:
        grant.blocked(redact(str(problem)))
        return error(
            topic,
            f"YouTube blocks this address: {problem}",
            "the egress is paused now for all workers, and probed again later; lower videos_per_hour (docs/egress.md)",
        )
    except SegmentError as problem:
        grant.answered(problem.reason, problem.detail)
        return str(problem)
    except Exception as problem:  # noqa: BLE001 - a check reports whatever goes wrong
        return f"{type(problem).__name__}: {problem}"
    grant.answered()
    facts = clip.columns
    with contextlib.suppress(OSError):
        clip.audio.unlink()
    traffic = client.traffic.take()
    return ok(
        topic,
        f"{ytid}: {facts['duration_seconds']:g} s, format {facts['format_id']}, {facts['sample_rate']} Hz, "
        f"{traffic.media_bytes / 1e3:.0f} kB and {traffic.requests} requests in {time.monotonic() - started:.1f} s",
    )
