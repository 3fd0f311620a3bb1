"""The results of `gpu_bench.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SIZES: Final = ("64", "512", "2048")


def render(results: Mapping[str, Any]) -> str:
    """Everything between the markers `gpu` of docs/performance.md."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    backends = results["backends"]
    head = (
        "Written by `make bench-gpu`; all figures are in "
        "[benchmarks/results/gpu.json](../benchmarks/results/gpu.json). "
        f"Card: {machine['card'] or 'none'}; {machine['cores']} CPU cores; {versions}."
    )
    return "\n\n".join([head, _embed(results, backends), _train(backends)])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _embed(results: Mapping[str, Any], backends: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    for backend, found in backends.items():
        embed = found["embed"]
        for size in _SIZES:
            one, alone = embed["embed"][size], embed["network_alone"][size]
            rows.append(
                [
                    f"{backend}, batches of {size} across clips",
                    f"{one['clips_per_second']:.0f}",
                    f"{one['times_real_time']:,}",
                    _share(one["gpu_waits"]),
                    f"{alone / 10:,.0f}",
                ]
            )
        single = embed["clip_by_clip"]
        rows.append(
            [f"{backend}, clip by clip", f"{single['clips_per_second']:.0f}", "", _share(single["gpu_waits"]), ""]
        )
        if "torch_clip_by_clip" in embed:
            single, alone = embed["torch_clip_by_clip"], embed["torch_network_alone"]
            rate = f"{single['clips_per_second']:.0f}"
            name = "VGGish in plain PyTorch, clip by clip"
            rows.append([name, rate, "", _share(single["gpu_waits"]), f"{alone['10'] / 10:,.0f}"])
            name = "the same in batches of 512 (the network alone)"
            rows.append([name, "", "", "", f"{alone['512'] / 10:,.0f}"])
    front = ", ".join(
        f"{found['embed']['front_end_alone_clips_per_second']:.0f} beside {backend}"
        for backend, found in backends.items()
    )
    head = ["`embed`", "clips a second", "times real time", "the GPU waits", "the network alone, clips a second"]
    return (
        f"### Embeddings\n\n{results['clips']:,} clips of 10 s, stereo FLAC at 48 kHz, files to files.\n\n"
        f"{_table(head, rows)}\n\nReading, resampling and the front end alone, in {results['machine']['cores']} "
        f"threads: {front} clips a second. That is what limits `embed` on a fast card, and it grows with the number "
        "of cores of the job."
    )


def _train(backends: Mapping[str, Any]) -> str:
    rows = []
    for backend, found in backends.items():
        for model, one in found["train"].items():
            rows.append(
                [
                    f"{model}, {backend}, batches of {one['batch_size']}",
                    f"{one['examples_per_second']:,.0f}",
                    _share(one["gpu_waits"]),
                    f"{one['one_batch_again_and_again']:,.0f}",
                    f"{one['one_clip_a_step']:,.0f}",
                    f"{one['plain_torch']:,.0f}" if "plain_torch" in one else "",
                ]
            )
    head = [
        "`train`, examples a second",
        "training",
        "the GPU waits",
        "one batch again and again",
        "one clip a step",
        "plain PyTorch",
    ]
    return (
        f"### Training\n\n{_table(head, rows)}\n\n*One batch again and again* leaves the input pipeline out; the "
        "difference from *training* is what the input pipeline costs. VGG16 trains block5 and the head. *The GPU "
        "waits* is what `nvidia-smi` calls the time without a kernel, sampled ten times a second."
    )
