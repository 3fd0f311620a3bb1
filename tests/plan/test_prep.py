"""The command `prep` and its script, as a user runs them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.sharedfs.lease import Holder, Lease
from tests.support.flaky_server import Behaviour, FlakyServer

ROOT = Path(__file__).resolve().parents[2]
CLASSES = (
    'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/m/0bt9lr,"Dog"\n'
    '3,/m/05tny_,"Bark"\n'
)
ONTOLOGY = (
    '[{"id":"/m/0jbk","name":"Animal","child_ids":["/m/0bt9lr"]},'
    '{"id":"/m/0bt9lr","name":"Dog","child_ids":["/m/05tny_"]},{"id":"/m/05tny_","name":"Bark","child_ids":[]}]'
)
MIDS = ("/m/09x0r", "/m/05zppz,/m/09x0r", "/m/0bt9lr", "/m/05tny_,/m/0bt9lr", "/m/05tny_")


def csv(rows: int, promised: int | None = None, prefix: str = "-_") -> str:
    promised = rows if promised is None else promised
    head = f"# Segments csv created\n# num_ytids={promised}, num_segs={promised}\n# YTID, start_seconds\n"
    return head + "".join(f'{prefix}{n:09d}, {n}.000, {n + 10}.000, "{MIDS[n % 5]}"\n' for n in range(rows))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    files = {
        "eval_segments.csv": csv(20).encode(),
        "balanced_train_segments.csv": csv(7, prefix="b_").encode(),
        "unbalanced_train_segments.csv.gz": gzip.compress(csv(33, prefix="u_").encode()),
        "class_labels_indices.csv": CLASSES.encode(),
        "ontology.json": ONTOLOGY.encode(),
    }
    server = FlakyServer(Behaviour(files))
    yield server
    server.stop()


def plan(data_dir: Path, subset: str = "eval_segments") -> list[list[str]]:
    data = DataDir(data_dir)
    return [[s.ytid for s in read_shard(data.shard_csv(shard), subset)] for shard in data.shards(subset)]


def numbers(data_dir: Path) -> list[int]:
    return [int(ytid[2:]) for shard in plan(data_dir) for ytid in shard]


@pytest.mark.slow
def test_the_script_from_an_unreliable_server(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [30, None, 500, 100, None]
    server.behaviour.statuses = [None, 503]
    script = [str(ROOT / "download_subset_files.sh"), "--split", "3", "--base-url", server.base, str(tmp_path / "d")]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "trying again" in done.stderr and "eval_segments" in done.stdout
    assert any(status == 206 for _, _, status in server.behaviour.requests)
    assert (tmp_path / "d" / "eval_segments.csv").read_text() == csv(20)
    assert [len(part) for part in plan(tmp_path / "d")] == [6, 7, 7]
    assert [len(part) for part in plan(tmp_path / "d", "balanced_train_segments")] == [2, 2, 3]
    assert [len(part) for part in plan(tmp_path / "d", "unbalanced_train_segments")] == [11, 11, 11]
    assert (tmp_path / "d" / "unbalanced_train_segments.csv").read_text() == csv(33, prefix="u_")
    asked = len(server.behaviour.requests)
    again = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert again.returncode == 0 and again.stdout.count("unchanged") == 3
    assert len(server.behaviour.requests) == asked, "whole files are not fetched again"


def test_the_script_without_python_names_setup(tmp_path: Path) -> None:
    script = tmp_path / "download_subset_files.sh"
    script.write_bytes((ROOT / "download_subset_files.sh").read_bytes())
    for arguments, status, words in ((["x"], 2, "setup.sh"), (["-h"], 0, "--split N"), ([], 2, "usage:")):
        done = subprocess.run(
            ["bash", str(script), *arguments],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"} | {"PYTHONNOUSERSITE": "1"},
            check=False,
        )
        assert (done.returncode, words in done.stdout + done.stderr) == (status, True), done.stderr


def test_script_is_clean() -> None:
    shellcheck = Path(sysconfig.get_path("scripts"), "shellcheck")  # of this environment: a machine seldom has one
    subprocess.run([shellcheck, ROOT / "download_subset_files.sh"], check=True)


def prep(tmp_path: Path, *options: str, base: Path | None = None) -> int:
    arguments = ["prep", str(tmp_path / "d"), "--subsets", "eval", "--retries", "0", *options]
    return main(arguments + (["--base-url", str(base)] if base else []))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    (base / "eval_segments.csv").write_text(csv(20))
    (base / "class_labels_indices.csv").write_text(CLASSES)
    (base / "ontology.json").write_text(ONTOLOGY)
    return base


def test_filters(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prep(tmp_path, "--labels", "Male speech, man speaking,Dog", base=base) == 0
    assert [n % 5 for n in numbers(tmp_path / "d")] == [1, 2, 3] * 4
    assert prep(tmp_path, "--labels", "/m/05zppz", "--limit", "2", "--split", "5") == 0
    assert [len(part) for part in plan(tmp_path / "d")] == [0, 0, 1, 0, 1] and numbers(tmp_path / "d") == [1, 6]
    ontology = str(base / "ontology.json")
    assert prep(tmp_path, "--labels", "Animal", "--descendants", "--ontology", ontology) == 0
    assert {n % 5 for n in numbers(tmp_path / "d")} == {2, 3, 4}
    assert prep(tmp_path, "--sample", "5", "--seed", "1") == 0
    first = numbers(tmp_path / "d")
    assert len(first) == 5 and first == sorted(first)
    assert prep(tmp_path, "--sample", "5", "--seed", "2") == 0
    assert numbers(tmp_path / "d") != first
    assert prep(tmp_path, "--sample", "5", "--seed", "1") == 0
    assert numbers(tmp_path / "d") == first
    capsys.readouterr()
    assert prep(tmp_path, "--labels", "Dogs") == 2
    assert "did you mean Dog" in capsys.readouterr().err
    assert prep(tmp_path, "--descendants") == 2


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "eval_segments.csv").write_text(csv(20, promised=2041789)[:-20])
    assert prep(tmp_path, base=base) == 1
    error = capsys.readouterr().err
    assert "expected 2,041,789" in error and "19 rows came" in error and "--allow-partial" in error
    assert not (tmp_path / "d" / "eval_segments.csv").exists(), "no name of a whole file for half a file"
    assert prep(tmp_path, "--allow-partial", base=base) == 0
    assert "partial" in capsys.readouterr().err and len(numbers(tmp_path / "d")) == 19
    assert prep(tmp_path, base=base) == 1, "what was taken once is not whole for that"
    (base / "eval_segments.csv").write_text(csv(20))
    assert prep(tmp_path, "--refetch", base=base) == 0
    assert len(numbers(tmp_path / "d")) == 20


def test_an_error_page_is_never_taken(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "eval_segments.csv").write_text("<html><body>Blocked by policy</body></html>\n")
    assert prep(tmp_path, "--allow-partial", base=base) == 1
    assert "Blocked by policy" in capsys.readouterr().err
    (base / "eval_segments.csv").write_text(csv(20))
    (base / "class_labels_indices.csv").write_text("<html></html>")
    (tmp_path / "d" / "class_labels_indices.csv").unlink()
    assert prep(tmp_path, base=base) == 1
    assert "class_labels_indices" in capsys.readouterr().err
    (base / "class_labels_indices.csv").write_text(CLASSES)
    assert prep(tmp_path, base=base) == 0


def test_bad_rows(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = csv(20).replace("-_000000004", "#NAME?").replace("7.000, 17.000", "17.000, 7.000")
    (base / "eval_segments.csv").write_text(damaged)
    assert prep(tmp_path, base=base) == 1
    error = capsys.readouterr().err
    assert "2 bad rows" in error and "line 8" in error and "line 11" in error and "--skip-bad-rows" in error
    assert prep(tmp_path, "--skip-bad-rows") == 0
    assert len(numbers(tmp_path / "d")) == 18
    rejected = (tmp_path / "d" / "eval_segments.rejected.csv").read_text().splitlines()
    assert rejected[0] == "line,problem,detail,row" and rejected[1].startswith("8,id damaged") and len(rejected) == 3


def test_another_file_altogether(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "eval_segments.csv").write_text("name,age\nann,3\nbob,4\n")
    assert prep(tmp_path, base=base) == 1
    error = capsys.readouterr().err
    assert "expected a segments CSV" in error and "eval_segments.csv.refused: line 3: bad id: 'bob'" in error
    (base / "eval_segments.csv").write_text(csv(20))
    assert prep(tmp_path, base=base) == 0, "it was not taken"


def test_missing_files(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "class_labels_indices.csv").unlink()
    assert prep(tmp_path, "--labels", "Dog", base=base) == 1
    assert prep(tmp_path, base=base) == 0
    assert "for their form only" in capsys.readouterr().err
    assert main(["prep", str(tmp_path / "e"), "--subsets", "balanced_train", "--base-url", str(base)]) == 1
    assert "balanced_train_segments.csv" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--split", "0"], ["--split", "x"], ["--subsets", "nosuch"], ["--limit", "-1"]])
def test_usage(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prep", str(tmp_path), *options])
    assert stopped.value.code == 2


def test_a_held_shard_stops_another_split(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prep(tmp_path, "--split", "2", base=base) == 0
    with Lease.acquire(DataDir(tmp_path / "d").lease(ShardId("eval_segments", 1)), Holder.current(), 60):
        assert prep(tmp_path, "--split", "2") == 0
        assert prep(tmp_path, "--split", "3") == 75
    assert "eval_segments.01 by host" in capsys.readouterr().err
    assert prep(tmp_path, "--split", "3") == 0


def test_download_of_other_rows_than_planned_is_refused(
    server: FlakyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(tmp_path / "d"), "--subsets", "eval_segments", "--base-url", server.base]
    assert main(["prep", *where, "--labels", "Dog"]) == 0
    for choice, planned in (["--labels", "Bark"], "labels Dog"), (["--labels", "Dog", "--limit", "1"], "labels Dog"):
        assert main(["download", *where, *choice]) == 2
        assert f"prepared already, eval_segments with {planned}: " in capsys.readouterr().err
    assert main(["prep", *where]) == 0
    assert main(["download", *where, "--labels", "Dog"]) == 2
    assert "eval_segments with all rows: " in capsys.readouterr().err


def test_more_shards_than_segments_are_made_and_told(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prep(tmp_path, "--split", "30", base=base) == 0
    assert "note: 30 shards for at most 20 segments: the others are empty" in capsys.readouterr().err
    assert len(list((tmp_path / "d").glob("eval_segments.csv.*"))) == 30
