"""The stand-in as a whole: proxies, catalogue, faults, log and control."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from audioset_batch.standin.catalog import EVERY_CLIENT, Catalog, Video
from audioset_batch.standin.control import ControlServer, Method
from audioset_batch.standin.faults import Allowance, Block, Fault, FaultBoard, Outage
from audioset_batch.standin.formats import HLS_FORMATS
from audioset_batch.standin.hls import hls_tracks
from audioset_batch.standin.journal import Journal
from audioset_batch.standin.library import Library
from audioset_batch.standin.options import Access
from audioset_batch.standin.proxy import Authority, Proxy
from audioset_batch.standin.site import Site


class Standin:
    """A YouTube of one's own on 127.0.0.1; a context manager.

    Args:
        catalog: The videos. `put_video` changes them while it runs.
        cache: Folder for the synthesised media; may be shared and kept. None: a temporary one.
        egresses: Names of the egresses; each is a proxy with its own port.
        ports: Their ports, 0 for any free one; as many as egresses.
        control_port: Of the control server; 0 for any free one.
        log_path: Also append every event to this file as JSON lines.
        seed: Decides the faults that have a probability.
        allowance: YouTube's own limit for each egress; None: no limit.

    Attributes:
        ca_file: The certificate to trust.
        board: What goes wrong.
        journal: What was asked.
    """

    def __init__(
        self,
        catalog: Catalog,
        cache: Path | None = None,
        *,
        egresses: Sequence[str] = ("direct",),
        ports: Sequence[int] | None = None,
        control_port: int = 0,
        log_path: Path | None = None,
        seed: int = 0,
        allowance: Allowance | None = None,
    ) -> None:
        self.catalog = catalog
        self._folder = Path(tempfile.mkdtemp(prefix="standin-"))
        self._stopping = threading.Event()
        authority = Authority()
        self.ca_file = self._folder / "ca.pem"
        authority.save(self.ca_file)
        self.board = FaultBoard(seed, allowance)
        self.journal = Journal(log_path)
        self._library = Library(cache or self._folder / "media")
        self._site = Site(catalog, self._library, self.board, self.journal, self._sleep)
        numbers = [0] * len(egresses) if ports is None else ports
        self._proxies = {
            name: Proxy(name, port, self._site, authority.context) for name, port in zip(egresses, numbers, strict=True)
        }
        self._control = ControlServer(_methods(self), control_port)

    def __enter__(self) -> Standin:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer."""
        for proxy in self._proxies.values():
            proxy.start()
        self._control.start()

    def stop(self) -> None:
        """End all connections, close the ports, remove the temporary folder."""
        self._stopping.set()
        self._control.stop()
        for proxy in self._proxies.values():
            proxy.stop()
        self._library.close()
        self.journal.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def egresses(self) -> tuple[str, ...]:
        """Names of the egresses."""
        return tuple(self._proxies)

    @property
    def proxy_urls(self) -> dict[str, str]:
        """The proxy of each egress."""
        return {name: proxy.url for name, proxy in self._proxies.items()}

    @property
    def control_url(self) -> str:
        """Where `ControlClient` goes."""
        return self._control.url

    def access(self, egress: str | None = None) -> Access:
        """What a client needs to come in by one egress, the first by default."""
        return Access(self.proxy_urls[self._name(egress)], self.ca_file)

    def prepare(self) -> None:
        """Make all media of the catalogue now, so that no request has to wait for it (HLS where there is no other)."""
        for video in list(self.catalog.videos.values()):
            for itag in video.playable_itags:
                for track in video.tracks_of(itag):
                    self._library.get(video, itag, track)
            for itag in HLS_FORMATS if video.hls and EVERY_CLIENT in video.sabr else ():
                for track in hls_tracks(video, itag):
                    self._library.get(video, itag, track)

    def put_video(self, video: Video) -> None:
        """Add or replace a video."""
        self.catalog.put(video)

    def block(self, mode: Block, egress: str | None = None, seconds: float | None = None) -> None:
        """Turn an egress away, or all; for so long, or until `unblock`."""
        for name in self.egresses if egress is None else (self._name(egress),):
            self.board.block(name, mode, seconds)

    def unblock(self, egress: str | None = None) -> None:
        """Let an egress in again, or all."""
        self.board.unblock(egress)

    def cut(self, outage: Outage | None, egress: str | None = None) -> None:
        """Let nothing through an egress, or through any; None: everything again."""
        for name in self.egresses if egress is None else (self._name(egress),):
            self.board.cut(name, outage)

    def add_fault(self, fault: Fault) -> None:
        """Switch a fault on."""
        self.board.add(fault)

    def clear_faults(self, ytid: str | None = None) -> None:
        """Switch the faults of one video off, or all."""
        self.board.clear(ytid)

    def set_delay(self, seconds: float, egress: str | None = None) -> None:
        """Wait this long before each answer."""
        self.board.set_delay(seconds, egress)

    def expire_urls(self) -> None:
        """Media URLs given out so far are answered with 403 from now on."""
        self._site.expire_urls()

    def events(self, kind: str | None = None, ytid: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """The request log; see `Journal`."""
        return self.journal.events(kind, ytid, since)

    def counters(self) -> dict[str, Any]:
        """Totals; see `Journal.counters`."""
        return self.journal.counters()

    def clear_log(self) -> None:
        """Forget the events so far."""
        self.journal.clear()

    def describe(self) -> dict[str, Any]:
        """Where everything is: `proxies`, `ca_file`, `control_url`."""
        return {"proxies": self.proxy_urls, "ca_file": str(self.ca_file), "control_url": self.control_url}

    def _name(self, egress: str | None) -> str:
        name = next(iter(self._proxies)) if egress is None else egress
        if name not in self._proxies:
            raise ValueError(f"no egress {name!r}; there are {', '.join(self._proxies)}")
        return name

    def _sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)


def _methods(standin: Standin) -> dict[str, Method]:
    """The methods that another process can call, see `ControlClient`."""
    return {
        "describe": lambda given: standin.describe(**given),
        "prepare": lambda given: standin.prepare(**given),
        "put_video": lambda given: standin.put_video(Video.from_dict(given)),
        "block": lambda given: standin.block(**given | {"mode": Block(given["mode"])}),
        "unblock": lambda given: standin.unblock(**given),
        "cut": lambda given: standin.cut(**given | {"outage": given["outage"] and Outage(given["outage"])}),
        "add_fault": lambda given: standin.add_fault(Fault.from_dict(given)),
        "clear_faults": lambda given: standin.clear_faults(**given),
        "set_delay": lambda given: standin.set_delay(**given),
        "expire_urls": lambda given: standin.expire_urls(**given),
        "events": lambda given: standin.events(**given),
        "counters": lambda given: standin.counters(**given),
        "clear_log": lambda given: standin.clear_log(**given),
    }
