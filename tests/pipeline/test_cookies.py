"""Cookies and the password of a proxy are used by a whole run, and found nowhere afterwards, nor on a command line."""

import base64
import threading
import urllib.parse
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Fault, Standin, Trouble, Where
from tests.support.loopback import Project, make_rows

COOKIE = "f00dcafe-never-to-be-seen"
PASSWORD = "p/w#T1RE'?@:%"
ENCODED = urllib.parse.quote(PASSWORD, safe="")
ANY = range(256)
TOKEN = "T0KEN-never-to-be-seen"
SECRETS = [
    COOKIE.encode(),
    PASSWORD.encode(),
    ENCODED.encode(),
    b"T1RE",
    base64.b64encode(f"user:{PASSWORD}".encode()),
    TOKEN.encode(),
]


class Watcher(threading.Thread):
    """Reads the command lines of all processes, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue


@pytest.mark.slow
def test_the_secrets_are_nowhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, media_cache: Path) -> None:
    rows = make_rows(4, seed=3)
    catalog = Catalog.from_ids({row.ytid: row.end_ms / 1000 for row in rows}, seconds=(60.0,))
    home = tmp_path_factory.mktemp("home")
    cookies, proxy_file = home / "cookies.txt", home / "proxy.txt"
    cookies.write_text(f"# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2000000000\tSID\t{COOKIE}\n")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with Standin(catalog, media_cache, log_path=tmp_path_factory.mktemp("log") / "log") as youtube:
        youtube.prepare()
        youtube.add_fault(Fault(Trouble.RESET, where=Where.PLAYER, first=1))
        project = Project(tmp_path / "project", {"eval_segments": rows}, youtube)
        host = youtube.access().proxy.partition("://")[2]
        proxy_file.write_text(f"http://user:{ENCODED}@{host}\n")
        (first,) = project.settings["egress"]
        first.pop("proxy")
        first |= {"proxy_file": str(proxy_file), "cookies": str(cookies)}
        dead = {**first, "name": "dead", "proxy": f"http://user:{ENCODED}@127.0.0.1:1", "concurrent": 1}
        dead.pop("proxy_file")
        project.settings["egress"] = [first, dead]
        project.settings["worker"]["retries"] = 1
        project.settings["youtube"]["args"] += ["--extractor-args", f"youtube:po_token=mweb.gvs+{TOKEN}"]
        project.write_config()
        project.prep(1)
        watcher = Watcher()
        watcher.start()
        env = project.env | {"TMPDIR": str(temporary)}
        argv = ("download", str(project.data), "--config", str(project.config), "--verbose", "--subsets", "eval")
        said = [project.run(*argv, env=env, status=ANY)]
        said.append(project.run("check", "--data-dir", str(project.data), "--config", str(project.config), status=ANY))
        said.append(project.run("status", str(project.data), "--config", str(project.config), status=ANY))
        said.append(project.run("merge", str(project.data), status=ANY))
        said.append(project.run("report", str(project.data), status=ANY))
        submit = ("submit", "--dry-run", "--data-dir", str(project.data), "--config", str(project.config))
        said.append(project.run(*submit, status=ANY))
        watcher.stop.set()
        watcher.join()
    assert "uses cookies: YouTube may close an account" in said[0].stderr
    assert any(b"download" in line for line in watcher.seen), "the watcher sees command lines"
    written = [path.read_bytes() for path in [*project.data.rglob("*"), *temporary.rglob("*")] if path.is_file()]
    assert len(written) > 10
    for text in (*(f"{one.stdout}{one.stderr}".encode() for one in said), *written, *watcher.seen):
        assert not [secret for secret in SECRETS if secret in text], text[:2000]
    assert cookies.read_text().endswith(f"{COOKIE}\n"), "the original is left as it was"
