"""Check before the first resolve that yt-dlp accepts the settings of each egress."""

from __future__ import annotations

import contextlib
import multiprocessing
import urllib.request
from multiprocessing.connection import Connection

from audioset_batch.config import Config
from audioset_batch.config.proxy import proxy_problem
from audioset_batch.errors import StopRun, UsageError


def check_clients(config: Config) -> None:
    """Create a client for each egress, and discard it.

    Raises:
        UsageError: `youtube.args`, a cookie file or a proxy of the environment is invalid.
    """
    _check_environment()
    if not _anything_given(config):
        return
    from audioset_batch.worker.child import client_for

    for index in range(len(config.egress)):
        client_for(config, index)


def check_clients_apart(config: Config) -> None:
    """As `check_clients`, in a process of the fork server, so that this process need not import yt-dlp.

    Raises:
        UsageError: as `check_clients`.
    """
    _check_environment()
    if not _anything_given(config):
        return
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_check, args=(theirs, config), daemon=True)
    process.start()
    theirs.close()
    with contextlib.suppress(EOFError):  # it crashed; so will a worker process, whose exit is reported in full
        problem: str = ours.recv()
        if problem:
            raise UsageError(problem)
    process.join()


def _anything_given(config: Config) -> bool:
    """True if there are settings that yt-dlp might reject."""
    return bool(config.youtube.args) or any(egress.cookies for egress in config.egress)


def _check(pipe: Connection, config: Config) -> None:
    problem = ""
    try:
        check_clients(config)
    except StopRun as error:
        problem = str(error)
    with contextlib.suppress(BrokenPipeError):  # the parent was stopped meanwhile
        pipe.send(problem)


def _check_environment() -> None:
    for scheme, url in urllib.request.getproxies().items():
        if scheme != "no" and "@" in url and (problem := proxy_problem(url if "://" in url else f"http://{url}")):
            raise UsageError(f"{scheme}_proxy of the environment: {problem}")
