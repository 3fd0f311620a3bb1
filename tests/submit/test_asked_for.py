"""What SLURM is asked for by default, as `submit` and `plan` say it: one task of one CPU for one address."""

import re
from pathlib import Path

import pytest
import yaml

from audioset_batch.cli import main
from tests.support.loopback import make_rows, write_lists


@pytest.mark.parametrize(
    ("addresses", "slurm", "hours", "warned"),
    [
        (1, {}, 3.3, False),
        (10, {}, 0.3, False),
        (1, {"array_parallelism": 4, "cpus_per_task": 5, "mem": "8G"}, 67, True),
    ],
    ids=["one address", "ten addresses", "twenty cores"],
)
def test_the_need_is_asked_for_and_what_exceeds_it_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    addresses: int,
    slurm: dict[str, object],
    hours: float,
    warned: bool,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no SLURM
    write_lists(tmp_path / "source", {"eval_segments": make_rows(100)})
    egress = [{"name": f"e{number}", "proxy": f"http://127.0.0.1:{number}"} for number in range(1, addresses + 1)]
    config, data = tmp_path / "site.yaml", str(tmp_path / "data")
    config.write_text(yaml.safe_dump({"egress": egress, "slurm": slurm}))
    assert main(["prep", data, "--base-url", str(tmp_path / "source"), "--subsets", "eval", "--split", "10"]) == 0
    capsys.readouterr()
    assert main(["submit", "--dry-run", "--config", str(config), "--data-dir", data]) == 0
    script, said = capsys.readouterr()
    asked = (slurm.get("cpus_per_task", 1), slurm.get("mem", "600M"), slurm.get("array_parallelism", 1))
    assert f"#SBATCH --cpus-per-task={asked[0]}" in script
    assert f"#SBATCH --mem={asked[1]}" in script
    assert f"#SBATCH --array=1-10%{asked[2]}" in script
    for text in (said, plan_of(data, config, capsys)):
        found = re.search(r"\(([0-9.]+) core-hours per 1,000 segments\)", text)
        assert found and float(found[1]) == pytest.approx(hours, abs=0.5), text
        assert ("slurm.cpus_per_task: auto" in text) is warned


def plan_of(data: str, config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["plan", data, "--config", str(config)]) == 0
    return " ".join(capsys.readouterr().out.split())
