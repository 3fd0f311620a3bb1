"""Who is compared: this project, the PyPI package audioset-download, and the plain commands yt-dlp and ffmpeg,
which fetch the whole audio, or the section that yt-dlp tells ffmpeg to fetch.

All run unaltered, with the same yt-dlp, against the same stand-in. audioset-download finds it by the usual proxy
variables and SSL_CERT_FILE; the lists that it reads from the web come from a small HTTP proxy (`ListServer`).
"""

from __future__ import annotations

import http.server
import shutil
import subprocess
import sys
import threading
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from workload import CLIP_SECONDS, SUBSET, Clip, write_csvs

from audioset_batch.standin import Access

CHECKOUT: Final = Path(__file__).resolve().parents[1]
OURS: Final = "audioset-batch"
PACKAGE: Final = "audioset-download"
PLAIN: Final = "yt-dlp + ffmpeg"
SECTIONS: Final = "yt-dlp --download-sections"
_VENV: Final = CHECKOUT / "build" / "bench" / "peers"
_PACKAGE_RUN: Final = (
    "import sys; from audioset_download import Downloader; "
    "Downloader(root_path=sys.argv[1], labels=None, n_jobs=int(sys.argv[2]), "
    f"download_type={SUBSET!r}, copy_and_replicate=False).download(format='flac')"
)
_PLAIN_CLIP: Final = (
    f'yt-dlp -q --no-progress -f bestaudio -o "$1.%(ext)s" "$3" && for file in "$1".*; do '
    f'ffmpeg -v error -nostdin -ss "$2" -t {CLIP_SECONDS} -i "$file" -vn -ar 48000 -sample_fmt s16 "out/$1.flac" '
    '&& rm -f "$file"; done'
)
_SECTIONS_CLIP: Final = (
    'yt-dlp -q --no-progress -f bestaudio --download-sections "*$2-$4" -x --audio-format flac -o "out/$1.%(ext)s" "$3"'
)


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be: these clips into the empty folder `folder`, `jobs` at a time.

    Attributes:
        lists: URL of the `ListServer`.
        options: More options for `audioset-batch download`.
    """

    clips: Sequence[Clip]
    folder: Path
    jobs: int
    access: Access
    lists: str
    options: Sequence[str]


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its environment."""

    argv: list[str]
    env: dict[str, str]


class ListServer(http.server.ThreadingHTTPServer):
    """An HTTP proxy that answers every URL with the file of that name in `folder`; nothing is passed on."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _ListHandler)
        self.folder = folder
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What a client gives as its http_proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _ListHandler(http.server.BaseHTTPRequestHandler):
    server: ListServer

    def do_GET(self) -> None:
        path = self.server.folder / self.path.rpartition("/")[2]
        data = path.read_bytes() if path.is_file() else None
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def prepare_peers() -> Path:
    """The environment of audioset-download, made when it is not there; its yt-dlp is the one this project pins.

    Raises:
        SystemExit: ffmpeg is missing, or pip cannot install.
    """
    missing = [name for name in ("ffmpeg", "ffprobe") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"the programs to compare with need {' and '.join(missing)}: apt-get install ffmpeg")
    python = _VENV / "bin" / "python"
    if not (_VENV / "ready").exists():
        venv.create(_VENV, with_pip=True, clear=True)
        pins = CHECKOUT / "constraints.txt"
        command = [str(python), "-m", "pip", "install", "--quiet", "-c", str(pins), PACKAGE]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"pip could not install {PACKAGE} from the package index; see above")
        (_VENV / "ready").touch()
    return _VENV


def peer_versions(environment: Path) -> dict[str, str]:
    """Versions of what `prepare_peers` installed, and of ffmpeg."""
    code = "import sys; from importlib.metadata import version; print(*(version(name) for name in sys.argv[1:]))"
    names = (PACKAGE, "yt-dlp")
    python = str(environment / "bin" / "python")
    found = subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True).stdout.split()
    banner = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True).stdout.split()
    return {**{f"{name} (peers)": one for name, one in zip(names, found, strict=True)}, "ffmpeg": banner[2]}


def _env(task: Task, programs: Path) -> dict[str, str]:
    home = task.folder / "home"
    home.mkdir(parents=True)
    return {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "SSL_CERT_FILE": str(task.access.ca_file),
    }


def ours(task: Task) -> Command:
    """`audioset-batch download`, from the lists on: prep, download, verify, record."""
    env = _env(task, Path(sys.executable).parent)
    write_csvs(task.folder / "lists", task.clips)
    settings = {
        "source": {"base_url": str(task.folder / "lists")},
        "worker": {"threads": task.jobs},
        "egress": [
            {
                "name": "loopback",
                "proxy": task.access.proxy,
                "videos_per_hour": None,
                "concurrent": task.jobs,
            }
        ],
    }
    config = task.folder / "site.yaml"
    config.write_text(yaml.safe_dump(settings))
    argv = [
        str(Path(sys.executable).parent / "audioset-batch"),
        "download",
        str(task.folder / "data"),
        "--config",
        str(config),
        "--subsets",
        f"{SUBSET}_segments",
        *task.options,
    ]
    return Command(argv, env)


def package(task: Task) -> Command:
    """audioset-download as its manual has it, FLAC, one copy of each clip."""
    env = _env(task, _VENV / "bin")
    env |= {"https_proxy": task.access.proxy, "http_proxy": task.lists}
    argv = [str(_VENV / "bin" / "python"), "-c", _PACKAGE_RUN, str(task.folder / "out"), str(task.jobs)]
    return Command(argv, env)


def plain(task: Task) -> Command:
    """For each clip: yt-dlp fetches the best audio, ffmpeg cuts and converts; `xargs -P` runs several."""
    return _shell(task, _PLAIN_CLIP)


def sections(task: Task) -> Command:
    """The same, but ffmpeg fetches the section by itself, told by yt-dlp where."""
    return _shell(task, _SECTIONS_CLIP)


def _shell(task: Task, script: str) -> Command:
    env = _env(task, _VENV / "bin")
    env |= {"https_proxy": task.access.proxy, "http_proxy": task.access.proxy}  # ffmpeg goes by the latter
    (task.folder / "out").mkdir()
    words = task.folder / "clips.txt"
    words.write_text("".join(f"{one.ytid}\n{one.start}\n{one.url}\n{one.start + CLIP_SECONDS}\n" for one in task.clips))
    argv = ["xargs", "-a", str(words), "-n", "4", "-P", str(task.jobs), "sh", "-c", script, "sh"]
    return Command(argv, env)


COMMANDS: Final = {OURS: ours, PACKAGE: package, PLAIN: plain, SECTIONS: sections}


def outputs(task: Task) -> dict[str, Path]:
    """The finished clips below the task's folder by video id, of all contenders."""
    ids = {clip.ytid for clip in task.clips}
    return {path.name[:11]: path for path in task.folder.rglob("*.flac") if path.name[:11] in ids}
