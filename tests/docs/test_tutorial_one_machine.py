"""The commands of docs/tutorial-one-machine.md, run as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from audioset_batch.cli import build_parser
from audioset_batch.config import load_config
from tests.support.tutorials import ROOT, blocks, dog_rows, place

PAGE = "tutorial-one-machine.md"


@pytest.mark.slow
def test_every_command_works(tmp_path: Path, media_cache: Path) -> None:
    subsets = {"eval_segments": dog_rows(12, 1), "balanced_train_segments": dog_rows(12, 2)}
    data = tmp_path / "home" / "audioset-dog"
    with place(tmp_path, subsets, data, {}, media_cache) as here:
        said = [here.run(block) for block in blocks(PAGE, "bash")]
        python = [here.run(f"python - <<'END'\n{block}END") for block in blocks(PAGE, "python")]
    planned = sum("/m/0bt9lr" in row.labels for rows in subsets.values() for row in rows)
    assert planned == 12
    assert "probe" in said[0]
    assert "Nothing is left to do" in said[2]
    assert "10 ok, 2 unavailable" in said[3], "the same command again counts no segment twice"
    assert "https://www.youtube.com/watch?v=" in said[5]
    clips = len(list((data / "data").rglob("*.flac")))
    assert 0 < clips < planned
    assert (data / "report.html").stat().st_size > 10_000
    assert "fitting: " in said[6]
    assert python[0].split()[0] == str(clips)
    assert "(2, " in python[0] or "(1, 480000)" in python[0]


def more_options() -> list[str]:
    table = (ROOT / "docs" / PAGE).read_text().partition("## More options")[2]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    return [code for cell in cells for code in re.findall("`([^`]+)`", cell)]


@pytest.mark.parametrize("code", more_options())
def test_more_options_are_options_of_today(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(code) if word != "..."]
    if words[0].startswith("-"):
        words = ["audioset-batch", "download", "DIR", *words]
    if words[0] == "./download_subset_files.sh":
        words = ["audioset-batch", "prep", *words[1:]]
    assert words[0] == "audioset-batch"
    args = build_parser().parse_args(words[1:])
    if args.command == "download":
        load_config(args.config, args.overrides)
