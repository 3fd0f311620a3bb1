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
        "`make bench-gpu` writes this section; all figures are in "
        "[benchmarks/results/gpu.json](../benchmarks/results/gpu.json).\n\n"
        f"- Card: {machine['card'] or 'none'}; {machine['cores']} CPU cores.\n- Versions: {versions}."
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
            name = "the same in batches of 512 (network alone)"
            rows.append([name, "", "", "", f"{alone['512'] / 10:,.0f}"])
    front = ", ".join(
        f"{found['embed']['front_end_alone_clips_per_second']:.0f} beside {backend}"
        for backend, found in backends.items()
    )
    head = ["`embed`", "clips per second", "times real time", "GPU idle", "network alone, clips per second"]
    return (
        f"### Embeddings\n\n{results['clips']:,} clips of 10 s, stereo FLAC at 48 kHz, from files to files:\n\n"
        f"{_table(head, rows)}\n\nClips per second of reading, resampling and the front end alone, in "
        f"{results['machine']['cores']} threads: {front}. This limits `embed` on a fast card. It grows with the "
        "number of CPU cores of the job."
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
        "`train`, examples per second",
        "training",
        "GPU idle",
        "one batch repeated",
        "one clip per step",
        "plain PyTorch",
    ]
    return (
        f"### Training\n\n{_table(head, rows)}\n\n*One batch repeated* leaves the input pipeline out: the difference "
        "from *training* is the cost of the input pipeline. VGG16 trains block5 and the head. *GPU idle* is the time "
        "without a kernel according to `nvidia-smi`, sampled ten times a second."
    )
