"""What a user sees before anything runs: help, versions, wrong input."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.cli import build_parser, main
from audioset_batch.cli.argument_types import number_between, positive, subset_list, task_numbers
from audioset_batch.cli.document import markdown


def run(*argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return subprocess.run(
        [sys.executable, "-m", "audioset_batch", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=plain | env,
    )


def commands() -> list[str]:
    parser = build_parser()
    assert parser._subparsers is not None
    return sorted(next(iter(parser._subparsers._group_actions)).choices or ())


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "-h"])
    assert ended.value.code == 0
    assert f"audioset-batch {command}" in capsys.readouterr().out


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse of 3.13 words options differently from 3.11 and 3.12")
def test_reference_is_made_from_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    assert page.read_text() == markdown(), "run `make reference`"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "download" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from audioset_batch.cli import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "yt_dlp",
        "av",
        "keras",
        "jax",
        "soundfile",
        "sox",
        "yaml",
        "rich",
    }
    assert not heavy & set(done.stdout.split())


def test_a_worker_needs_neither_the_extractor_nor_ffmpeg_in_its_coordinator() -> None:
    code = "import sys; import audioset_batch.worker.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"yt_dlp", "av", "sox", "soundfile"} & set(done.stdout.split())


def test_version_names_the_tools() -> None:
    done = run("--version")
    assert done.returncode == 0
    for name in ("audioset-batch ", "Python ", "yt-dlp ", "av ", "sox ", "pysox "):
        assert f"\n{name}" in "\n" + done.stdout


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        ((), 2, "usage"),
        (("worker",), 2, "which shard?"),
        (("worker", "--task", "0"), 2, "shards count from 1"),
        (("worker", "--task", "1-4%2"), 2, "as in sbatch's --array, without %: 7, 1-10, 3,5-7, 1-9:2; or all"),
        (("worker", "--task", "1"), 2, "no data directory"),
        (("worker", "--task", "1", "--data-dir", "nowhere"), 2, "does not exist"),
        (("worker", "--task", "1", "--data-dir", "."), 2, "download_subset_files.sh"),
        (("worker", "--task", "1", "--config", "none.yaml"), 2, "cannot be read"),
        (("worker", "--task", "1", "--subsets", "evil"), 2, "choose from"),
        (("worker", "--task", "1", "--set", "audio.format=aac"), 2, "audio.format"),
        (("merge", "nowhere"), 2, "does not exist"),
        (("merge", "."), 1, "no shards"),
        (("retry", "nowhere"), 2, "does not exist"),
        (("retry", ".", "--reason", "bored"), 2, "choose from removed"),
        (("retry", ".", "--reset"), 2, "--reset of everything"),
        (("retry", ".", "--status", "okk"), 2, "choose from ok, unavailable, failed\n"),
        (("retry", "."), 1, "no shards"),
        (("clip", ".", "abcdefghijk"), 1, "no shards"),
        (("logs", ".", "--folder", "nowhere"), 2, "no such folder"),
        (("status", ".", "--wach"), 2, "usage: audioset-batch status"),
        (("status", ".", "--wach"), 2, "(did you mean --watch?)"),
        (("features", "info", ".", "--jsn"), 2, "(did you mean --json?)"),
        (("download", "d", "-nr", "-1"), 2, "a whole number, 0 or more"),
        (("download",), 2, "no data directory"),
        (("download", "d", "--audio-codec", "aac"), 2, "does not fit"),
        (("download", "d", "-af", "mp3", "-asr", "96000"), 2, "not possible with format mp3"),
        (("download", "d", "-e", "none.csv"), 2, "none.csv: no such file"),
        (("prep", "d", "--base-url", "none"), 2, "none: no such file or folder"),
        (("prep", "d", "--split", "1000000"), 2, "expected at most 100,000 shards"),
        (("features", "info", "none"), 2, "none: no such file or folder"),
        (("bogus",), 2, "invalid choice"),
    ],
)
def test_wrong_input_is_told_without_a_traceback(
    argv: tuple[str, ...],
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        returned: object = main(argv)
    except SystemExit as ended:  # argparse
        returned = ended.code
    said = capsys.readouterr().err
    assert returned == status, said
    assert words in said


def test_numbers_have_bounds() -> None:
    assert positive("7") == 7 and number_between(0.5, 3600, "seconds")("1e3") == 1000
    for bad in ("0", "-1", "+1", "1.0", "x", "", "٣", "²", "9" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number, 1 or more"):
            positive(bad)
    for bad in ("0.4", "3601", "nan", "inf", "", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"expected a number of seconds from 0\.5 to 3600"):
            number_between(0.5, 3600, "seconds")(bad)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", (7,)),
        ("1-4", (1, 2, 3, 4)),
        ("3,5-7,5", (3, 5, 6, 7)),
        ("1-9:4", (1, 5, 9)),
        ("007", (7,)),
        ("all", "all"),
        *((bad, None) for bad in ("", "0", "-1", "1-", "4-2", "1-4:0", "0-3", "1,,2", "ALL", "1 2", "٣", "1" * 9, "x")),
    ],
)
def test_numbers_of_shards_are_written_as_for_sbatch(text: str, expected: tuple[int, ...] | str | None) -> None:
    if expected is None:
        with pytest.raises(argparse.ArgumentTypeError, match=r"expected|count from 1"):
            task_numbers(text)
    else:
        assert task_numbers(text) == expected


def test_the_config_of_the_job_scripts_is_that_of_the_commands(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path, AUDIOSET_CONFIG="none.yaml")
    assert (done.returncode, "none.yaml: cannot be read" in done.stderr) == (2, True), done.stderr
    (tmp_path / "site.yaml").write_text("data_dir: over/there\n")
    assert "over/there" in run("worker", "--task=1", cwd=tmp_path, AUDIOSET_CONFIG="site.yaml").stderr
    assert "no data directory" in run("worker", "--task=1", cwd=tmp_path, AUDIOSET_CONFIG="").stderr


NOWHERE = (
    *("--set", "egress.0.proxy=http://127.0.0.1:1", "--set", "egress.0.videos_per_hour=null"),
    *("--set", "egress.0.max_wait=0"),
)
"""Nothing listens there, and nobody waits for it."""


def test_download_without_a_network_says_why_and_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=2, num_segs=2, num_unique_labels=1\n"
        '# YTID, start_seconds, end_seconds, positive_labels\nabcdefghijk, 0.000, 10.000, "/m/09x0r"\n'
    )
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    argv = ("download", "d", "-e", "short.csv", "--base-url", ".", "--num-retries", "0")
    cut_short = run(*argv, *NOWHERE, cwd=tmp_path)
    assert (cut_short.returncode, "--allow-partial" in cut_short.stderr) == (1, True), cut_short.stderr
    done = run(*argv, *NOWHERE, "--allow-partial", cwd=tmp_path)
    assert done.returncode == 75, done.stderr
    assert "YouTube cannot be reached: look at the network, the proxy and DNS" in done.stderr
    assert "Unable to connect to proxy" in done.stderr
    assert "Run the same command again" in done.stderr
    totals = json.loads(run("status", "d", "--json", cwd=tmp_path).stdout)["totals"]
    assert (totals["pending"], totals["failed"]) == (1, 0), "an outage says nothing about a segment"


@pytest.mark.slow
def test_download_takes_the_file_that_is_named_or_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    for name, row in (
        ("wrong", "bob,3"),
        ("one", "a0000000000, 0, 10, /m/09x0r"),
        ("two", "b0000000000, 0, 10, /m/09x0r"),
    ):
        (tmp_path / f"{name}.csv").write_text(f"{row}\n")

    def download(*argv: str) -> subprocess.CompletedProcess[str]:
        return run("download", "d", "--base-url", ".", *NOWHERE, "-nr", "0", *argv, cwd=tmp_path)

    (tmp_path / "empty.csv").touch()
    (tmp_path / "junk.csv").write_bytes(bytes(range(256)))
    empty, junk = download("-e", "empty.csv"), download("-e", "junk.csv")
    assert (empty.returncode, junk.returncode) == (1, 1)
    assert "empty.csv is not whole: expected segments, found none. --allow-partial" in empty.stderr
    assert junk.stderr.rstrip().endswith("expected a segments CSV, found binary data")
    wrong = download("-e", "wrong.csv")
    assert (wrong.returncode, "expected a segments CSV" in wrong.stderr) == (1, True), wrong.stderr
    for why in ("the wrong one was not taken", "the same command continues"):
        one = download("-e", "one.csv")
        assert (one.returncode, "YouTube cannot be reached" in one.stderr) == (75, True), why
    other = download("-e", "two.csv")
    assert (other.returncode, "with another file than two.csv" in other.stderr) == (2, True), other.stderr
    assert download("-e", "nosuch.csv").returncode == 2
    left_out = download("-e", "one.csv", "--subsets", "balanced")
    assert (left_out.returncode, "leaves out" in left_out.stderr) == (2, True), left_out.stderr
    by_url = download("-e", "http://127.0.0.1:1/eval_segments.csv")
    assert "is not looked at" in by_url.stderr and by_url.returncode == 75


def test_a_file_where_a_folder_should_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    header = "# Segments csv made by hand\n# num_segs=1\n# YTID, start_seconds, end_seconds, positive_labels\n"
    (tmp_path / "eval_segments.csv.01").write_text(header + 'abcdefghijk, 0.000, 10.000, "/m/09x0r"\n')
    (tmp_path / "manifests").touch()
    for argv, status, words in (
        (("merge", "."), 1, "manifests"),
        (("retry", "."), 1, "manifests"),
        (("retry", ".", "--reset", "--ytid", "zzzzzzzzzzz"), 1, "zzzzzzzzzzz: in no shard"),
        (("adopt", ".", "--list", "no/such"), 2, "--list no/such"),
        (("export", ".", "--unavailable", "."), 2, "this is a folder"),
        (("prep", "manifests"), 2, "manifests: expected a folder or a name for a new one, a file is there"),
    ):
        assert main(argv) == status
        assert words in capsys.readouterr().err


def test_ffmpeg_options_of_audiosetdl_are_taken_with_a_warning(tmp_path: Path) -> None:
    done = run("download", "d", "-f", "./bin/ffmpeg", "-fp", "./bin/ffprobe", "--base-url", ".", cwd=tmp_path)
    assert "--ffmpeg is not needed" in done.stderr
    assert "--ffprobe is not needed" in done.stderr


@pytest.mark.parametrize(("argv", "status"), [(("--version",), 0), (("check", "--data-dir", "nowhere"), 1)])
def test_a_reader_that_leaves_changes_no_status(argv: tuple[str, ...], status: int, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "audioset_batch", *argv]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (status, "")


def test_the_beginning_of_a_subset_names_it() -> None:
    assert subset_list("unbalanced, eval,eval_segments,balanced_train") == (
        "unbalanced_train_segments",
        "eval_segments",
        "balanced_train_segments",
    )
    for wrong in ("", "evil", "train"):
        with pytest.raises(argparse.ArgumentTypeError, match="choose from"):
            subset_list(wrong)


@pytest.mark.parametrize("command", ["merge", "plan", "report", "retry", "status"])
def test_a_file_in_the_place_of_the_data_directory_is_named(command: str, tmp_path: Path) -> None:
    file = tmp_path / "eval_segments.csv"
    file.write_text("")
    done = run(command, str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"data directory {file} is a file" in done.stderr
