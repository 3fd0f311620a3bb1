"""What a client needs so that its way to YouTube ends at the stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Access:
    """One way in.

    Attributes:
        proxy: Proxy URL.
        ca_file: The certificate authority to trust, PEM.
    """

    proxy: str
    ca_file: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment variables for a client that goes by them. yt-dlp heeds `SSL_CERT_FILE` only where its
        list of authorities is not installed, or with `--compat-options no-certifi`."""
        proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), self.proxy)
        return proxies | {"NO_PROXY": "", "no_proxy": "", "SSL_CERT_FILE": str(self.ca_file)}

    @property
    def ytdlp_args(self) -> list[str]:
        """Options of the yt-dlp command; needs no environment."""
        return ["--proxy", self.proxy, "--no-check-certificates"]

    @property
    def ytdlp_options(self) -> dict[str, Any]:
        """The same for `yt_dlp.YoutubeDL`."""
        return {"proxy": self.proxy, "nocheckcertificate": True}
