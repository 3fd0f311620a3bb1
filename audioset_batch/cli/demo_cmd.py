"""`audioset-batch demo`: see the whole job work, on 127.0.0.1 only."""

from __future__ import annotations

import argparse
from pathlib import Path


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `demo`."""
    parser = commands.add_parser(
        "demo",
        help="run the whole job against a loopback stand-in for YouTube, with made-up videos",
        description="Run prep, four shards (through SLURM if sbatch answers), merge and report. Uses only 127.0.0.1 "
        "and leaves nothing running.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("demo-data"), metavar="DIR", help="default: demo-data"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: configs/demo.yaml of the checkout")
    parser.add_argument(
        "--learn",
        action="store_true",
        help="continue with VGGish embeddings (random weights), a classifier, and learn-report.html",
    )
    parser.add_argument("--no-slurm", action="store_true", help="run the workers here even if sbatch answers")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo and show what came of it."""
    import audioset_batch
    from audioset_batch.config import load_config

    if args.config is not None:
        load_config(args.config, [])  # before minutes are spent on what it is for
    config = args.config or Path(audioset_batch.__file__).parents[1] / "configs" / "demo.yaml"
    return _learn(args, config) if args.learn else _download(args, config)


def _download(args: argparse.Namespace, config: Path) -> int:
    from audioset_batch.demo import run_demo

    result = run_demo(args.folder.absolute(), config, print, slurm=False if args.no_slurm else None)
    _show(result.merged.summary)
    data = result.folder / "data"
    print(f"clips      {data / 'data'}")
    print(f"table      {data / 'manifest.csv'} and manifest.parquet")
    print(f"counts     {data / 'summary.json'}")
    print(f"report     {result.report}")
    way = "through SLURM" if result.through_slurm else "on this machine, without SLURM"
    print(f"done in {result.seconds:.0f} s, {way}")
    return 0 if result.merged.finished and not result.merged.differences else 1


def _learn(args: argparse.Namespace, config: Path) -> int:
    from audioset_batch.demo.learn import run_learning_demo

    result = run_learning_demo(args.folder.absolute(), config, print, slurm=False if args.no_slurm else None)
    _show(result.merged.summary)
    for step, seconds in result.seconds.items():
        print(f"{step:<10} {seconds:.0f} s")
    print(f"report     {result.report}")
    print(
        f"mAP {result.evaluation['map']:.3f} on {result.evaluation['clips']} clips, by chance {result.chance:.3f}. The "
        "VGGish weights are RANDOM: this shows that the steps work, and is comparable with nothing."
    )
    print(f"done in {sum(result.seconds.values()):.0f} s")
    if not result.learned:
        print("the classifier is not clearly better than chance, which it should be on these sounds")
    return 0 if result.learned and result.merged.finished and not result.merged.differences else 1


def _show(summary: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    subsets, totals, reasons = summary["subsets"], summary["totals"], summary["reasons"]
    assert isinstance(subsets, dict) and isinstance(totals, dict) and isinstance(reasons, dict)
    names = ("planned", "ok", "unavailable", "failed", "pending")
    table = Table(title="outcomes")
    for name in ("subset", *names):
        table.add_column(name, justify="left" if name == "subset" else "right")
    for subset, counts in subsets.items():
        table.add_row(subset, *(str(counts[name]) for name in names))
    table.add_section()
    table.add_row("all", *(str(totals[name]) for name in names))
    console = Console()
    console.print(table)
    console.print("reasons: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()), highlight=False)
