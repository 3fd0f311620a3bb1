"""A worker process: a few threads that make clips in temporary files, each with a long-lived yt-dlp per egress.

It neither publishes nor records anything, and may be killed at any time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final

from audioset_batch.config import Config
from audioset_batch.egress import redact
from audioset_batch.errors import (
    EgressBlocked,
    SegmentTransient,
    SegmentUnavailable,
    SlotExpired,
    StopRun,
    StorageUnusable,
)
from audioset_batch.reasons import Reason
from audioset_batch.untrusted import visible
from audioset_batch.worker.make_clip import make_clip
from audioset_batch.worker.messages import READY, Attempt, AttemptResult, Job, WaitNotice
from audioset_batch.worker.oom import set_oom_score
from audioset_batch.worker.probe import probe_media
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import ClientOptions, RequestContext

_IGNORED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def serve(connection: Connection, config: Config, threads: int) -> None:
    """Run jobs from `connection` until it is closed. The entry point of a worker process."""
    set_oom_score("self", 500)  # instead of the fork server's score, which is inherited
    for number in _IGNORED_SIGNALS:
        # Only the coordinator decides when to stop. Child processes inherit that these signals are ignored.
        signal.signal(number, signal.SIG_IGN)
    # They also inherit the mask: sox installs handlers of its own, and would end in the middle of a clip.
    signal.pthread_sigmask(signal.SIG_SETMASK, _IGNORED_SIGNALS)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    sending = threading.Lock()
    for index in range(threads):
        threading.Thread(
            target=_work, args=(jobs, connection, sending, config), name=f"clip-{index}", daemon=True
        ).start()
    try:
        connection.send(READY)
        while True:
            jobs.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # the coordinator is gone: nobody will publish the clips that are being made


def _work(jobs: queue.SimpleQueue[Job], connection: Connection, sending: threading.Lock, config: Config) -> None:
    clients: dict[int, YtDlpClient] = {}

    def send(message: Attempt | WaitNotice) -> None:
        with sending:
            connection.send(message)

    while True:
        job = jobs.get()
        try:
            send(run_job(job, clients, config, send))
        except OSError:
            return


def run_job(
    job: Job,
    clients: dict[int, YtDlpClient],
    config: Config,
    send: Callable[[WaitNotice], None] = lambda message: None,
) -> Attempt:
    started = time.monotonic()
    result, reason, detail, proven, clip = AttemptResult.OK, "", "", True, None
    client = clients.get(job.egress)
    try:
        if client is None:
            client = clients[job.egress] = client_for(config, job.egress)
        context = RequestContext(
            deadline=started + job.timeout,
            start_by=job.start_by,
            max_bytes=config.worker.max_clip_bytes,
            on_wait=lambda seconds: send(WaitNotice(job.number, seconds)),
        )
        if job.segment is None:
            probe_media(job.probe, client, context)
        else:
            clip = make_clip(job.segment, client, config, job.tmp_dir / f"{job.number}", context)
    except SlotExpired:
        result = AttemptResult.SLOT_EXPIRED
    except EgressBlocked as error:
        result, detail = AttemptResult.BLOCKED, str(error)
    except SegmentUnavailable as error:
        result, reason, detail, proven = AttemptResult.UNAVAILABLE, error.reason, error.detail, error.proven
    except SegmentTransient as error:
        result, reason, detail, proven = AttemptResult.TRANSIENT, error.reason, error.detail, error.proven
    except StorageUnusable as error:
        result, detail = AttemptResult.STORAGE, str(error)
    except StopRun as error:
        result, detail = AttemptResult.USAGE_ERROR, str(error)
    except Exception as error:  # noqa: BLE001 - an unexpected error is recorded for its segment and must not end the shard
        result, reason, detail = AttemptResult.TRANSIENT, Reason.INTERNAL, f"{type(error).__name__}: {error}"[:300]
        clients.pop(job.egress, None)
    if clip is None and job.segment is not None:
        _remove_leftovers(job, config)
    traffic = None if client is None else client.traffic.take()
    return Attempt(
        number=job.number,
        result=result,
        reason=str(reason),
        proven=proven,
        detail=visible(redact(detail)),  # messages of HTTP libraries may contain the proxy's URL
        clip=clip,
        elapsed=time.monotonic() - started,
        requests=0 if traffic is None else traffic.requests,
        fetched_bytes=0 if traffic is None else traffic.media_bytes,
    )


def _remove_leftovers(job: Job, config: Config) -> None:
    """Remove the files of a failed attempt, which would fill the disk during a run of weeks."""
    for ending in (config.audio.format, config.video.format):
        with contextlib.suppress(OSError):
            (job.tmp_dir / f"{job.number}.{ending}").unlink(missing_ok=True)


def client_for(config: Config, index: int) -> YtDlpClient:
    """Create a client for egress number `index` of the config.

    Raises:
        UsageError: yt-dlp does not accept `youtube.args`, or the cookie file cannot be read.
    """
    egress = config.egress[index]
    return YtDlpClient(
        ClientOptions(
            args=config.youtube.args,
            player_skip=config.youtube.player_skip,
            lean=config.youtube.lean,
            proxy=egress.proxy,
            cookies=egress.cookies,
            source_address=egress.source_address,
            video_mode=config.video.mode,
            max_height=config.video.max_height,
            prefer_h264=config.video.cut == "copy",
            any_track=config.audio.track == "any",
            wordings=config.youtube.wordings,
        )
    )
