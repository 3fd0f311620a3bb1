"""`python -m audioset_batch.standin -- COMMAND`: the stand-in around one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.standin.__main__ import main
from audioset_batch.standin.command import run_command

STANDIN = [sys.executable, "-m", "audioset_batch.standin"]
ASK = """
import json, os, urllib.request
context = __import__("ssl").create_default_context(cafile=os.environ["SSL_CERT_FILE"])
page = urllib.request.urlopen("https://www.youtube.com/watch?v=whateverid0", context=context).read()
print(json.dumps({"playable": b'"status": "OK"' in page, "cache": os.environ["XDG_CACHE_HOME"]}))
"""


def test_the_command_reaches_only_the_stand_in(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    argv = [*STANDIN, "--ready-file", str(ready), "--", "python", "-c", ASK]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"HTTPS_PROXY": "http://192.0.2.1:9"})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    facts = json.loads(ready.read_text())
    assert said == {"playable": True, "cache": str(Path(facts["ca_file"]).with_name("cache"))}
    assert not Path(facts["ca_file"]).exists(), "its folder is removed with it"


@pytest.mark.parametrize("name", ["TERM", "USR1"])
def test_signals_are_passed_on_and_the_status_comes_back(name: str) -> None:
    script = f"trap 'exit 5' {name}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([*STANDIN, "--", "bash", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.wait(30) == 5


def test_exit_statuses_are_those_of_a_shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    no_program = tmp_path / "text"
    no_program.write_bytes(b"\x7fELF")
    no_program.chmod(0o755)
    before = [signal.getsignal(number) for number in range(1, signal.NSIG)]
    # `yes` ends by SIGPIPE, which Python itself ignores.
    pipe = ["bash", "-c", "yes | head -1 >/dev/null; exit ${PIPESTATUS[0]}"]
    commands = [["sh", "-c", "exit 7"], ["sh", "-c", "kill -9 $$"], ["no-such-program"], [str(no_program)], pipe]
    assert [run_command(argv, os.environ) for argv in commands] == [7, 137, 127, 126, 141]
    assert "standin: no-such-program: expected a program on PATH, found none" in capfd.readouterr().err
    assert [signal.getsignal(number) for number in range(1, signal.NSIG)] == before


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--"], "expected a command after --"), (["--with-parent", "--", "true"], "ends when the command does")],
)
def test_wrong_usage(options: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert word in capsys.readouterr().err
