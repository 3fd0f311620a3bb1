"""The screen that renews itself: fits, heeds q, survives a look that fails, stays plain where there is no terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SUBSETS
from audioset_batch.status.collect import collect
from audioset_batch.status.colour import coloured
from audioset_batch.status.text import fitting

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
FAILING_LOOK = """
import sys
from pathlib import Path
from audioset_batch.config import Config
from audioset_batch.errors import StorageUnusable
from audioset_batch.layout import DataDir
from audioset_batch.status.collect import collect
from audioset_batch.status.watch import watch

data, calls = DataDir(Path(sys.argv[1])), []
def look():
    calls.append(1)
    if len(calls) == 2:
        raise StorageUnusable("the disk is having a moment")
    return collect(data, Config(data_dir=data.root), ask_slurm=False)
watch(look, 0.5, most_shards=5)
"""


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Thirty shards that stopped, each with something to say."""
    data = DataDir(tmp_path)
    data.states.mkdir()
    for subset in SUBSETS:
        for number in range(1, 11):
            shard = ShardId(subset, number)
            data.shard_csv(shard).write_text("# a\n# num_segs=10\n# b\n")
            data.state(shard).write_text(
                '{"planned": 10, "counts": {"ok": 4, "failed": 1}, "reasons": {"timeout": 1}, "finished": true,'
                ' "updated_at": "2026-01-01T00:00:00+00:00", "note": "stopped by signal SIGUSR1"}'
            )
    return data


class Terminal:
    """A program on a terminal of so many lines and columns."""

    def __init__(self, *argv: str, lines: int = 24, columns: int = 80, term: str = "xterm") -> None:
        self.leader, follower = pty.openpty()
        self.resize(lines, columns)
        plain = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            env={**plain, "TERM": term, "PATH": ""},
        )
        os.close(follower)

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read_until(self, wanted: bytes, seconds: float = 30) -> bytes:
        until, data = time.monotonic() + seconds, b""
        while wanted not in data:
            assert time.monotonic() < until, data
            if select.select([self.leader], [], [], 0.2)[0]:
                try:
                    data += os.read(self.leader, 65536)
                except OSError:
                    break
        return data

    def type(self, keys: bytes) -> None:
        os.write(self.leader, keys)

    def end(self) -> int:
        status = self.process.wait(10)
        os.close(self.leader)
        return status


@pytest.fixture
def watching(data: DataDir) -> Iterator[Terminal]:
    terminal = Terminal("-m", "audioset_batch", "status", str(data.root), "--watch", "--every", "0.5")
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait(10)


def test_q_gives_the_screen_back(watching: Terminal) -> None:
    shown = watching.read_until(b"more; --shards")
    assert ENTER in shown and b"180 left" in shown and b"q ends" in shown + watching.read_until(b"q ends")
    assert b"\x1b[2J" not in shown, "drawn over, not wiped: no flicker"
    watching.type(b"xyzQ")
    watching.read_until(LEAVE)
    assert watching.end() == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_gives_the_screen_back(watching: Terminal, number: signal.Signals, status: int) -> None:
    watching.read_until(b"more; --shards")
    watching.process.send_signal(number)
    watching.read_until(LEAVE)
    assert watching.process.wait(10) == status
    assert termios.tcgetattr(watching.leader)[3] & termios.ICANON, "keys come by line again"
    watching.end()


def test_a_dumb_terminal_gets_lines(data: DataDir) -> None:
    terminal = Terminal("-m", "audioset_batch", "status", str(data.root), "--watch", "--every", "0.5", term="dumb")
    shown = terminal.read_until(b"180 left")
    assert b"\x1b" not in shown + terminal.read_until(b"180 left")
    terminal.type(b"q")
    assert terminal.end() == 0


def test_a_window_that_changes_its_size(watching: Terminal) -> None:
    watching.read_until(b"more; --shards")
    watching.resize(50, 100)
    taller = watching.read_until(b"balanced.05")
    assert b"q ends" in taller + watching.read_until(b"q ends")
    watching.type(b"q")
    assert watching.end() == 0


def test_a_look_that_fails_is_told_and_tried_again(data: DataDir) -> None:
    terminal = Terminal("-c", FAILING_LOOK, str(data.root))
    shown = terminal.read_until(b"having a moment")
    assert b"180 left" in shown, "what was known stays"
    again = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", terminal.read_until(b"q ends") + terminal.read_until(b"q ends"))
    assert b"having a moment" not in again.partition(b"q ends")[2]
    terminal.type(b"q")
    assert terminal.end() == 0


def test_no_shards_is_said_on_the_plain_screen(tmp_path: Path) -> None:
    terminal = Terminal("-m", "audioset_batch", "status", str(tmp_path), "--watch")
    shown = terminal.read_until(b"no shards")
    assert LEAVE in shown.partition(b"no shards")[0]
    assert terminal.end() == 1


def test_without_a_terminal(data: DataDir) -> None:
    command = [sys.executable, "-m", "audioset_batch", "status", str(data.root), "--watch", "--every", "0.5"]
    env = os.environ | {"PATH": ""}
    leader, keyboard = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=keyboard, env=env) as process:
        assert process.stdout is not None
        found = 0
        while found < 2:
            line = process.stdout.readline()
            assert line and b"\x1b" not in line
            found += b"180 left" in line
        assert termios.tcgetattr(leader)[3] & termios.ICANON, "a keyboard that others may use stays as it is"
        process.send_signal(2)
        assert process.wait(10) == 0
    os.close(leader)
    os.close(keyboard)


@pytest.mark.parametrize("lines", [6, 14, 22, 40, 200])
def test_fits_the_window(data: DataDir, lines: int) -> None:
    overview = collect(data, Config(data_dir=data.root), ask_slurm=False)
    text = fitting(overview, most_shards=100, lines=lines)
    assert len(text.splitlines()) <= lines
    assert all(len(line) <= 80 for line in text.splitlines()[1:]), text
    assert text.count("stopped by signal") == {6: 0, 14: 0, 22: 3, 40: 12, 200: 30}[lines]
    assert coloured(text).plain == text
