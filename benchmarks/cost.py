"""What clips cost on a cluster, by the accounting of a real SLURM at the real pace: `make bench-cost`.

    PYTHONPATH=. python benchmarks/cost.py [--minutes 10] [--only NAME,NAME] [--render]

Job arrays on a private SLURM with slurmdbd (tests/support/slurm_cluster), through the job script that users submit,
against the loopback stand-in: 300 videos an hour and address, a fifth of them gone. All recipes run side by side, each
with addresses and a data directory of its own; after so many minutes they are cancelled, and `sacct` tells what they
held and used. Writes benchmarks/results/cost.json and the table in docs/performance.md. Needs slurm-wlm, munge,
slurmdbd and mariadb-server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import machine
import yaml
from table import replace_between_markers

from audioset_batch.standin import Catalog, Standin, Video, default_cache
from tests.support.loopback import make_rows
from tests.support.loopback.dataset import write_lists
from tests.support.loopback.project import GOOD_VIDEO, NINE_LOSSES
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.slurm_cluster.others import forget_other_clusters

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results" / "cost.json"
PAGE: Final = ROOT / "docs" / "performance.md"
_SUBSET: Final = "eval_segments"
_PER_HOUR: Final = 300
_ROWS: Final = 1500
_DELAY: Final = 0.05
_GONE_EVERY: Final = 5
_DAY: Final = 86400
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to run the same work.

    Attributes:
        title: For the table.
        addresses: With 300 videos an hour each.
        shards: Of 1,500 rows.
        sbatch: Options of the array.
        goal: Core-hours per 1,000 clips at most; None: a figure to compare with.
        worker: Of the config.
        window: Seconds of the budget's window; it has its share of the 300 videos an hour.
    """

    title: str
    addresses: int
    shards: int
    sbatch: tuple[str, ...]
    goal: float | None = None
    script: str = "audiosetdl-job-array.s"
    worker: Mapping[str, Any] = field(default_factory=dict)
    window: float = 3600


RECIPES: Final = {
    "old-recipe": Recipe("old recipe, `%4`, 4 CPUs, 4G", 1, 100, ("--array=1-100%4", "-c4", "--mem=4G")),
    "old-submit": Recipe("old `submit`, `%10`, 4 CPUs, 4G", 1, 100, ("--array=1-100%10", "-c4", "--mem=4G")),
    "one": Recipe("recipe, `%1`, 1 CPU, 600M", 1, 25, ("--array=1-25%1",), goal=4.5),
    "ten": Recipe("recipe, `%1`, 1 CPU, 600M", 10, 10, ("--array=1-10%1",), goal=0.5),
    "ten-single": Recipe("one job, `jobs/download.s`", 10, 100, (), goal=0.5, script="jobs/download.s"),
    "burst": Recipe(
        "one job, `worker.burst`: 3 min, windows of 6 min",
        1,
        100,
        (),
        script="jobs/download.s",
        worker={"burst": 180, "hold_seconds": 30},
        window=360,
    ),
}


def measure(recipes: Mapping[str, Recipe], minutes: float) -> Figures:
    """Run all of `recipes` for so long; returns SLURM's version, and the figures by name."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cost-bench-", dir="/tmp")))
        rows = make_rows(_ROWS, seed=5)
        write_lists(work / "source", {_SUBSET: rows})
        for name, recipe in recipes.items():
            _run("prep", str(work / name), "--base-url", str(work / "source"), "--subsets", _SUBSET, "--split",
                 str(recipe.shards))  # fmt: skip
        ends = {row.ytid: row.end_ms / 1000 for row in rows}
        catalogs = {name: _catalog(work / name, ends) for name in recipes}
        servers = {
            name: stack.enter_context(
                Standin(catalogs[name], default_cache(), egresses=[f"e{n}" for n in range(recipe.addresses)])
            )
            for name, recipe in recipes.items()
        }
        for server in servers.values():
            server.prepare()
            server.set_delay(_DELAY)
        slurm = stack.enter_context(PrivateSlurm(nodes=2, accounting=True, cpus=64, memory_mb=256_000))
        jobs = {name: _submit(slurm, work / name, recipe, servers[name]) for name, recipe in recipes.items()}
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 60 * minutes:
            clips = ", ".join(f"{name} {_counts(work / name)['ok']}" for name in recipes)
            sys.stderr.write(f"{passed / 60:.0f} min: clips: {clips}\n")
            time.sleep(min(60.0, 60 * minutes - passed))
        slurm.run("scancel", *map(str, jobs.values()))
        for job in jobs.values():
            slurm.wait(job)
        time.sleep(5)  # until slurmdbd has it
        return {
            "slurm": slurm.run("sbatch", "--version").stdout.split()[-1],
            "recipes": {name: _figures(slurm, jobs[name], work / name, recipe) for name, recipe in recipes.items()},
        }


def _run(*argv: str) -> None:
    subprocess.run([sys.executable, "-m", "audioset_batch", *argv], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def _catalog(data: Path, ends: Mapping[str, float]) -> Catalog:
    """Every fifth video of each shard is gone, so that a short run has its share of them."""
    catalog = Catalog.from_ids(ends, seed=5, unavailable_share=0, short_share=0, seconds=(60.0, 60.0), itags=(140, 251))
    for path in sorted(data.glob(f"{_SUBSET}.csv.*")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for place, line in enumerate(lines):
            if place % _GONE_EVERY == _GONE_EVERY // 2:
                ytid = line.partition(",")[0]
                catalog.put(Video(ytid, outcome=NINE_LOSSES[place % len(NINE_LOSSES)]))
    catalog.put(Video(GOOD_VIDEO))
    return catalog


def _submit(slurm: PrivateSlurm, data: Path, recipe: Recipe, server: Standin) -> int:
    config = data.with_suffix(".yaml")
    budget = {"videos_per_hour": _PER_HOUR * recipe.window / 3600, "window_seconds": recipe.window}
    settings = {
        "worker": dict(recipe.worker),
        "egress": [{"name": name, "proxy": url, **budget} for name, url in server.proxy_urls.items()],
        "probe": {"ytids": [GOOD_VIDEO]},
        "youtube": {"args": ["--no-cache-dir"]},
    }
    config.write_text(yaml.safe_dump(settings))
    env = {"AUDIOSET_CONFIG": str(config), "DATADIR": str(data), "SSL_CERT_FILE": str(server.ca_file)}
    return slurm.sbatch(*recipe.sbatch, f"--output={data}-%a.log", recipe.script, cwd=ROOT, env=env)


def _counts(data: Path) -> dict[str, int]:
    counts = {"ok": 0, "unavailable": 0, "failed": 0}
    for path in data.glob("manifests/*.jsonl"):
        for line in path.read_text().splitlines():
            counts[json.loads(line)["status"]] += 1
    return counts


def _figures(slurm: PrivateSlurm, job: int, data: Path, recipe: Recipe) -> Figures:
    columns = "--format=JobID,ElapsedRaw,AllocCPUS,TotalCPU"
    text = slurm.run("sacct", "-n", "-P", "-D", columns, f"--jobs={job}").stdout
    lines = [line.split("|") for line in text.splitlines()]
    tasks = [line for line in lines if "." not in line[0] and line[1] != "0"]
    held = sum(int(elapsed) * int(cpus) for _, elapsed, cpus, _ in tasks)
    used = sum(_seconds(cpu) for name, _, _, cpu in lines if name.endswith(".batch"))
    counts = _counts(data)
    clips = counts["ok"]
    return {
        "title": recipe.title,
        "addresses": recipe.addresses,
        "goal_core_hours_per_1000_clips": recipe.goal,
        "window_seconds": recipe.window,
        "tasks": len(tasks),
        "task_seconds": sum(int(elapsed) for _, elapsed, _, _ in tasks),
        **counts,
        "core_seconds_held": held,
        "cpu_seconds_used": round(used, 1),
        "core_seconds_held_per_clip": held / clips,
        "cpu_seconds_used_per_clip": used / clips,
        "core_hours_per_1000_clips": held / clips / 3.6,
        "core_hours_per_1000_segments": held / sum(counts.values()) / 3.6,
    }


def _seconds(text: str) -> float:
    """Of sacct's `[days-][hours:]minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + float(part)
    return total + _DAY * int(days or 0)


def render(results: Mapping[str, Any]) -> str:
    """The table of docs/performance.md."""
    about = results["machine"]
    apart = sorted({one["apart"] for one in results["recipes"].values() if "apart" in one})
    exception = f", except those of {', '.join(apart)}" if apart else ""
    lines = [
        f"`{results['command']}` writes this section; all figures are in [{RESULTS.relative_to(ROOT)}]"
        f"(../{RESULTS.relative_to(ROOT)}).",
        "",
        f"- Machine: {about['cpu']}, {about['cores']} cores; SLURM {results['slurm']} with slurmdbd on the same "
        "machine.",
        f"- {results['minutes']:g} minutes at the real rate of 300 videos per hour and address; a fifth of the videos "
        "is unavailable; FLAC at 48 kHz.",
        "- *Held* and *used* are from `sacct`: the elapsed time of all tasks times their CPUs, and `TotalCPU`.",
        f"- All recipes ran at the same time{exception}.",
        "",
        "| addresses | recipe | clips | core-s held per clip | CPU-s used per clip | share used "
        "| core-h per 1,000 clips | goal |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results["recipes"].values():
        held, used = one["core_seconds_held_per_clip"], one["cpu_seconds_used_per_clip"]
        goal = one["goal_core_hours_per_1000_clips"]
        lines.append(
            f"| {one['addresses']} | {one['title']} | {one['ok']} | {held:.1f} | {used:.2f} | {100 * used / held:.2f}% "
            f"| {one['core_hours_per_1000_clips']:.2f} | {'' if goal is None else f'at most {goal:g}'} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)g)")
    parser.add_argument("--only", help=f"some of {', '.join(RECIPES)}; the figures of the others stay")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the table from the results again")
    args = parser.parse_args(argv)
    if args.render:
        replace_between_markers(PAGE, render(json.loads(RESULTS.read_text())), "cost")
        return 0
    forget_other_clusters()
    chosen = args.only.split(",") if args.only else list(RECIPES)
    results = {
        "command": "make bench-cost",
        "machine": machine.describe(sorted(os.sched_getaffinity(0))),
        "minutes": args.minutes,
        **measure({name: RECIPES[name] for name in chosen}, args.minutes),
    }
    if args.only:
        others = json.loads(RESULTS.read_text())
        for figures in results["recipes"].values():
            figures["apart"] = f"`--only {args.only} --minutes {args.minutes:g}`"
        results = others | {"recipes": others["recipes"] | results["recipes"]}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    replace_between_markers(PAGE, render(results), "cost")
    sys.stdout.write(render(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
