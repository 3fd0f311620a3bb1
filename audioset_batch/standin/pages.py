"""YouTube's pages, as far as yt-dlp's extractor reads them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any, Final

from audioset_batch.standin.answers import VISITOR

PLAYER_ID: Final = "0a1b2c3d"
_PLAYER_PATH: Final = f"/s/player/{PLAYER_ID}/player_ias.vflset/en_US/base.js"
_SIGNATURE_TIMESTAMP: Final = 20_500
_CLIENT_VERSION: Final = "2.20260708.00.00"


def watch(ytid: str, response: Mapping[str, Any], *, kids: bool = False) -> bytes:
    """The watch page; `kids`: it says that the video is made for them."""
    note = "<div>Video made for kids</div>" if kids else ""
    title = html.escape(response.get("videoDetails", {}).get("title", ""))
    contents: dict[str, Any] = {"contents": {"twoColumnWatchNextResults": {}}}
    return (
        f"<!DOCTYPE html><html><head><title>{title} - YouTube</title>"
        f"<script>ytcfg.set({_script(_config('WEB'))});</script></head><body>"
        f"<script>var ytInitialPlayerResponse = {_script(response)};</script>"
        f"<script>var ytInitialData = {_script(contents)};</script>"
        f'<div id="{html.escape(ytid)}">{note}</div></body></html>'
    ).encode()


def embed() -> bytes:
    """The page of the embedded player."""
    config = _config("WEB_EMBEDDED_PLAYER")
    return f"<!DOCTYPE html><html><script>ytcfg.set({_script(config)});</script></html>".encode()


def iframe_api() -> bytes:
    """The script that names the player's version."""
    return f"var scriptUrl = 'https:\\/\\/www.youtube.com\\/s\\/player\\/{PLAYER_ID}\\/www-widgetapi.js';".encode()


def player_script() -> bytes:
    """The player's script: only the number that clients look for; no URL here needs solving."""
    return f"var config={{signatureTimestamp:{_SIGNATURE_TIMESTAMP}}};".encode()


def _config(client: str) -> dict[str, Any]:
    return {
        "INNERTUBE_API_KEY": "standin-key",
        "INNERTUBE_CLIENT_NAME": client,
        "INNERTUBE_CLIENT_VERSION": _CLIENT_VERSION,
        "INNERTUBE_CONTEXT": {
            "client": {"clientName": client, "clientVersion": _CLIENT_VERSION, "visitorData": VISITOR}
        },
        "PLAYER_JS_URL": _PLAYER_PATH,
        "STS": _SIGNATURE_TIMESTAMP,
        "VISITOR_DATA": VISITOR,
    }


def _script(value: Mapping[str, Any]) -> str:
    """JSON that is safe in a script element."""
    return json.dumps(value).replace("</", "<\\/")
