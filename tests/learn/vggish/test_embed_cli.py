"""The commands as users type them."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from audioset_batch.cli import embed_cmd
from audioset_batch.errors import StopRun, UsageError
from audioset_batch.learn.features.reading import iter_records
from audioset_batch.learn.vggish.engine import Engine
from audioset_batch.learn.vggish.inputs import ShardOf
from audioset_batch.learn.vggish.store import hold_shard

COMMAND = [
    sys.executable,
    "-c",
    "import argparse, sys\n"
    "from audioset_batch.cli import embed_cmd\n"
    "from audioset_batch.errors import StopRun\n"
    "p = argparse.ArgumentParser(); embed_cmd.register(p.add_subparsers()); a = p.parse_args()\n"
    "try: sys.exit(a.run(a))\n"
    "except StopRun as e: print(e, file=sys.stderr); sys.exit(e.exit_code)\n",
]


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    embed_cmd.register(parser.add_subparsers())
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except StopRun as error:
        print(error, file=sys.stderr)
        return error.exit_code


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("AUDIOSET_WEIGHTS", str(tmp_path_factory.mktemp("weights")))


@pytest.fixture(autouse=True)
def restore_signals() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "name a data directory"),
        (["{tmp}/absent"], "no such folder"),
        (["{tmp}"], "found no clip"),
        (["{tmp}", "--subsets", "eval"], "needs a merged data directory"),
        (["--smoke-test"], "fetch-weights"),
        (["--smoke-test", "--random-weights", "1"], "released network"),
    ],
)
def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str):
    assert call("embed", *(argument.format(tmp=tmp_path) for argument in arguments)) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--batch-size", "--threads"])
def test_sizes_start_at_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str):
    with pytest.raises(SystemExit, match="2"):
        call("embed", str(tmp_path), option, "0")
    assert "expected a whole number, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--weights", "x"], ["--pca", "x"]])
def test_random_weights_exclude_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    assert call("embed", str(tmp_path), "--random-weights", "1", *options) == 2
    assert "excludes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/99999", "-1/2"])
def test_shard_values(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="K/N"):
        embed_cmd.shard_of(text)


def test_help_imports_nothing_heavy():
    code = (
        "import argparse, sys; from audioset_batch.cli import embed_cmd;"
        "embed_cmd.register(argparse.ArgumentParser().add_subparsers());"
        "print([m for m in ('numpy', 'keras', 'pyarrow', 'soundfile') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_files_of_one_stem_are_different_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, light_engine: Engine
):
    monkeypatch.setattr(embed_cmd, "_engine", lambda args: light_engine)
    rng = np.random.default_rng(0)
    names = ("a.wav", "a.flac", "b.wav", "x/abcdefghijk_0_2000.wav", "y/abcdefghijk_0_2000.wav", "y/a.wav", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("nothing to hear")
        else:
            soundfile.write(tmp_path / name, rng.standard_normal(32000) * 0.1, 16000)
    write_m4a(tmp_path / "c.m4a", rng.standard_normal(64000) * 0.1)
    (tmp_path / "torn.m4a").write_bytes(b"x")
    assert call("embed", str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert "planned 8: embedded 7" in captured.out and "torn.m4a: expected an audio file" in captured.err
    assert "skipped 1 files" in captured.err and "notes.txt" in captured.err
    records = list(iter_records(tmp_path / "embeddings/audio/0001-of-0001.tfrecord"))
    paths = ["a.flac", "a.wav", "b", "c", "x/abcdefghijk_0_2000.wav", "y/a", "y/abcdefghijk_0_2000.wav"]
    assert sorted(one.video_id for one in records) == paths
    assert len({one.embedding.tobytes() for one in records}) == 7
    lengths = {one.video_id: one.end - one.start for one in records}
    assert lengths["a.wav"] == lengths["x/abcdefghijk_0_2000.wav"] == 2.0
    assert lengths["c"] == pytest.approx(4.0, abs=0.1)
    assert call("embed", str(tmp_path)) == 1
    assert "embedded 7 (this run 0)" in capsys.readouterr().out


def write_m4a(path: Path, samples: np.ndarray, sample_rate: int = 16000) -> None:
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=sample_rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.slow
def test_damaged_clip_gives_1_and_the_warning_is_loud(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(32000)), 16000)
    (tmp_path / "b.wav").write_bytes(b"nothing")
    assert call("embed", str(tmp_path), "--random-weights", "7", "--batch-size", "4") == 1
    captured = capsys.readouterr()
    assert "WARNING: RANDOM WEIGHTS" in captured.err and "b.wav" in captured.err
    assert "planned 2: embedded 1" in captured.out
    (tmp_path / "b.wav").unlink()
    assert call("embed", str(tmp_path), "--random-weights", "7", "--batch-size", "4") == 0
    assert "embedded 1 (this run 0)" in capsys.readouterr().out
    assert call("embed", str(tmp_path), "--random-weights", "8", "--batch-size", "4") == 2
    assert "made otherwise" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_gives_75_and_the_next_run_goes_on(tmp_path: Path, number: int):
    for i in range(60):
        soundfile.write(tmp_path / f"{i:03d}.wav", np.random.default_rng(i).uniform(-0.5, 0.5, 160_000), 16000)
    command = [*COMMAND, "embed", str(tmp_path), "--random-weights", "7"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        parts = tmp_path / "embeddings" / ".parts"
        deadline = time.monotonic() + 120
        while not parts.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "run the same command again" in err
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "planned 60: embedded 60 (this run 60)" not in done.stdout
    assert "planned 60: embedded 60" in done.stdout


def test_usage_error_is_a_stop_run():
    assert issubclass(UsageError, StopRun)


def test_a_shard_that_is_being_made_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with hold_shard(tmp_path / "embeddings", ShardOf()):
        assert call("embed", str(tmp_path), "--random-weights", "1") == 75
    assert "is being worked on by" in capsys.readouterr().err
