"""The commands of docs/tutorial-cluster.md, run as they stand there on a real SLURM."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.slurm_cluster import PrivateSlurm
from tests.support.tutorials import ROOT, blocks, dog_rows, place
from tests.support.waiting import wait_until

PAGE = "tutorial-cluster.md"


def config(data: Path) -> str:
    """What a user makes of configs/one-ip.yaml, but without the budget and for a small machine."""
    values = yaml.safe_load((ROOT / "configs" / "one-ip.yaml").read_text())
    values["data_dir"] = str(data)
    values["egress"][0]["videos_per_hour"] = None
    values["worker"] |= {"processes": 1, "backoff_seconds": 0.1}
    values["slurm"] |= {"cpus_per_task": 1, "mem": "200M", "time": "10"}
    return yaml.safe_dump(values)


def small(block: str) -> str:
    """The same commands for four shards, and for what a test's node pretends to have."""
    block = block.replace("--split 100", "--split 4").replace("--array=1-100%1", "--array=1-4%4")
    return block.replace("sbatch --", "sbatch --mem=200 --cpus-per-task=1 --time=10 --")


def wait_until_idle(slurm: PrivateSlurm) -> None:
    wait_until(lambda: not slurm.run("squeue", "--noheader").stdout.strip(), "an empty queue", 150)


@pytest.mark.slow
def test_every_command_works(
    slurm: PrivateSlurm, tmp_path: Path, media_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", slurm.env["PATH"])
    subsets = {"eval_segments": dog_rows(10, 3)}
    data = tmp_path / "scratch" / "audioset"
    with place(tmp_path, subsets, data, {"one-ip.yaml": config(data)}, media_cache) as here:
        here.env |= {"SLURM_CONF": slurm.env["SLURM_CONF"], "DATADIR": str(data)}
        scripts = [small(block) for block in blocks(PAGE, "bash")]
        # only one subset lies there, as if fetched
        scripts[0] = scripts[0].replace("--split", "--subsets eval_segments --split")
        exports = ""
        for script in scripts:
            here.run(exports + script)
            exports += "".join(f"{line}\n" for line in script.splitlines() if line.startswith("export "))
            wait_until_idle(slurm)
    said = "\n".join(here.transcript)
    assert "sbatch, array" in said and "0 errors" in said
    assert "#SBATCH --array=" in said
    assert "Nothing is left to do" in said
    summary = json.loads((data / "summary.json").read_text())
    assert summary["totals"]["planned"] == 10
    assert summary["totals"]["ok"] + summary["totals"]["unavailable"] == 10
    assert (data / "report.html").exists()
