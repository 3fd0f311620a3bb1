"""Before the first resolve: does yt-dlp take what the config gives it, for each egress."""

from __future__ import annotations

import contextlib
import multiprocessing
import urllib.request
from multiprocessing.connection import Connection

from audioset_batch.config import Config
from audioset_batch.config.proxy import proxy_problem
from audioset_batch.errors import StopRun, UsageError


def check_clients(config: Config) -> None:
    """Build a client for each egress and throw it away.

    Raises:
        UsageError: `youtube.args`, a cookie file or a proxy of the environment is not what it should be.
    """
    _check_environment()
    if not _anything_given(config):
        return
    from audioset_batch.worker.child import client_for

    for index in range(len(config.egress)):
        client_for(config, index)


def check_clients_apart(config: Config) -> None:
    """The same in a process of the fork server, which has imported yt-dlp already; this one does not need it.

    Raises:
        UsageError: as above.
    """
    _check_environment()
    if not _anything_given(config):
        return
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_check, args=(theirs, config), daemon=True)
    process.start()
    theirs.close()
    with contextlib.suppress(EOFError):  # it died; so will a worker process, whose death is told better
        problem: str = ours.recv()
        if problem:
            raise UsageError(problem)
    process.join()


def _anything_given(config: Config) -> bool:
    """Whether there is anything that yt-dlp might not take."""
    return bool(config.youtube.args) or any(egress.cookies for egress in config.egress)


def _check(pipe: Connection, config: Config) -> None:
    problem = ""
    try:
        check_clients(config)
    except StopRun as error:
        problem = str(error)
    with contextlib.suppress(BrokenPipeError):  # who asked was stopped meanwhile
        pipe.send(problem)


def _check_environment() -> None:
    for scheme, url in urllib.request.getproxies().items():
        if scheme != "no" and "@" in url and (problem := proxy_problem(url if "://" in url else f"http://{url}")):
            raise UsageError(f"{scheme}_proxy of the environment: {problem}")
