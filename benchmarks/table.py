"""The benchmark's results as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from peers import COMMANDS, OURS
from stages import ORDER

_ROWS: Final = (
    ("CPU per clip (user + system), s", "cpu_seconds_per_clip", "{:.3f}"),
    ("clips per second", "clips_per_second", "{:.2f}"),
    ("media fetched per clip, kB", "kilobytes_per_clip", "{:,.0f}"),
    ("requests per clip", "requests_per_clip", "{:.2f}"),
    ("requests per clip, media only", "media_requests_per_clip", "{:.2f}"),
    ("peak memory of all processes (PSS), MB", "peak_pss_mb", "{:.0f}"),
    ("CPU of the stand-in per clip, s (on the same cores)", "server_cpu_seconds_per_clip", "{:.3f}"),
    ("clips delivered, of those requested", "delivered", "{:.0f}"),
    ("right: ten seconds, start within 0.1 s of the segment", "right", "{:.0f}"),
    ("exact: to the sample, start within 1 ms", "exact", "{:.0f}"),
)
_QUIET: Final = 0.2

Results = Mapping[str, Any]


def replace_between_markers(path: Path, text: str, name: str) -> None:
    """Put `text`, wrapped, between the markers `name` in `path`; a file without them gets them at its end."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    block = f"{begin}\n{_wrapped(text.strip())}\n{end}"
    before, found, rest = old.partition(begin)
    if found:
        after = rest.partition(end)[2]
        new = before + block + after
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    path.write_text(new, encoding="utf-8")


def _wrapped(text: str) -> str:
    """Paragraphs and list items with at most 100 characters a line; headings and tables stay as they are."""
    lines = []
    for line in text.split("\n"):
        indent = "  " if line.startswith("- ") else ""
        fixed = not line or line.startswith(("|", "#"))
        lines += [line] if fixed else textwrap.wrap(line, 100, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)


def render(results: Results) -> str:
    """Everything between the markers."""
    parts = [_about(results), _per_clip(results), _against(results), _where(results)]
    return "\n\n".join(parts)


def _about(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    others = results["others_busy_cores"]
    return (
        f"`{results['command']}` writes this section; all figures are in [{results['file']}](../{results['file']}).\n\n"
        f"- Machine: {machine['cpu']}, {machine['cores']} cores ({machine['cores_used']} used by the compared programs"
        f"{' and the stand-in' if machine['cores'] <= machine['cores_used'] else ''}), "
        f"{machine['memory_gb']} GB, {machine['system']}.\n- Versions: {versions}.\n"
        f"- Other programs used {others['median']:.1f} cores (median of the runs; at most {others['highest']:.1f})"
        + ("; this affects wall times and throughputs more than CPU figures.\n" if others["median"] > _QUIET else ".\n")
        + f"- Fixed mix of {results['clips']} clips: videos of 1, 3 and 10 minutes in equal parts, starts distributed "
        "as in AudioSet, the usual formats of YouTube (Opus in WebM is the best audio), FLAC at 48 kHz, audio only, "
        f"with our verification; {results['jobs']} clips in flight.\n- "
        + ("One run of each." if results["runs"] == 1 else f"Medians of {results['runs']} runs, taken in turn.")
    )


def _per_clip(results: Results) -> str:
    mine = results["mix"][OURS]
    floors = results["floors"]
    small = results["starts"]
    rows = [
        (
            "media fetched, kB",
            f"{mine['kilobytes_per_clip']:.0f}",
            f"floor {floors['kilobytes_per_clip']:.0f}: the encoded bytes of the clip",
        ),
        (
            "CPU, ms",
            f"{1000 * mine['cpu_seconds_per_clip']:.0f}",
            f"floor {1000 * floors['cpu_seconds_per_clip']:.0f}: decoding 10 s of Opus "
            f"({1000 * floors['decode_cpu_seconds']:.0f}) and encoding FLAC "
            f"({1000 * floors['encode_cpu_seconds']:.0f})",
        ),
        ("requests for media", f"{mine['media_requests_per_clip']:.2f}", "at most 4, aim 2"),
        (
            "requests in total",
            f"{mine['requests_per_clip']:.2f}",
            "one player request and the media; no page, no script",
        ),
        (
            f"peak memory of a worker with {results['jobs']} threads, MB (PSS)",
            f"{mine['peak_pss_mb']:.0f}",
            "under 600",
        ),
        (
            f"the same with {small['many_processes']} processes",
            f"{small['many_processes_pss_mb']:.0f}",
            "under 600",
        ),
        ("`audioset-batch -h`, s", f"{small['help_seconds']:.2f}", "under 0.3"),
        ("start of a worker to its first request, s", f"{small['worker_seconds']:.2f}", "under 1.5"),
    ]
    lines = ["## Per clip", "", "| | measured | floor or target |", "|---|---:|---|"]
    lines += [f"| {name} | {value} | {target} |" for name, value, target in rows]
    lines += ["", _latency(results["latency"])]
    return "\n".join(lines)


def _latency(rows: Sequence[Mapping[str, Any]]) -> str:
    delay = rows[0]["delay"]
    lines = [
        f"With {1000 * delay:.0f} ms before every answer, the number of clips in flight limits the throughput, not the "
        "CPU. The ceiling is threads / (requests per clip x latency).",
        "",
        "| | in flight | clips per second, after start-up | ceiling | share of it | cores busy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['who']} | {row['jobs']} | {row['rate']:.2f} | {row['ceiling']:.2f} | "
        f"{100 * row['rate'] / row['ceiling']:.0f} % | {row['cores_busy']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _against(results: Results) -> str:
    mix = results["mix"]
    names = [name for name in COMMANDS if name in mix]
    lines = [
        "## Against other downloaders",
        "",
        f"| {results['clips']} clips, no latency | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    for title, key, form in _ROWS:
        values = [form.format(mix[name][key]) for name in names]
        if key == "delivered":
            values = [f"{value} of {mix[name]['asked']:.0f}" for value, name in zip(values, names, strict=True)]
        lines.append(f"| {title} | {' | '.join(values)} |")
    others = [name for name in names if name != OURS]
    if not others:
        return "\n".join(lines)
    lines += [
        "",
        "This table shows how many times more CPU and bytes the others use, and how many times faster this project is:",
        "",
        "| videos of | " + " | ".join(f"{name}: CPU | bytes | throughput" for name in others) + " |",
        f"|---|{'---:|' * 3 * len(others)}",
    ]
    for title, row in [("the mix", mix), *((f"{int(k) // 60} min", v) for k, v in results["lengths"].items())]:
        cells = []
        for name in others:
            factors = ratios(row, name)
            cells += [f"{factors[key]:.1f}" for key in ("cpu", "bytes", "throughput")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(row: Mapping[str, Mapping[str, float]], name: str) -> dict[str, float]:
    """What `name` takes as a multiple of what we take, and our throughput as a multiple of its."""
    mine, other = row[OURS], row[name]
    return {
        "cpu": other["cpu_seconds_per_clip"] / mine["cpu_seconds_per_clip"],
        "bytes": other["kilobytes_per_clip"] / mine["kilobytes_per_clip"],
        "throughput": mine["clips_per_second"] / other["clips_per_second"],
    }


def _where(results: Results) -> str:
    stages = results["stages"]
    total = 1000 * results["mix"][OURS]["cpu_seconds_per_clip"]
    lines = [
        "## Where the time of one clip goes",
        "",
        f"This table times the worker's own functions in one thread. The last rows are the rest of the "
        f"{total:.0f} ms that a clip of the mix takes in the real command.",
        "",
        "| stage | CPU, ms | wall, ms | share of CPU |",
        "|---|---:|---:|---:|",
    ]
    known = 0.0
    for name in ORDER:
        cpu, wall = stages[name]["cpu_ms"], stages[name]["wall_ms"]
        known += cpu
        lines.append(f"| {name} | {cpu:.1f} | {wall:.1f} | {100 * cpu / total:.0f} % |")
    start = 1000 * results["starts"]["cpu_seconds"] / results["clips"]
    rest = total - known - start
    lines.append(f"| start-up, shared by {results['clips']} clips | {start:.1f} | | {100 * start / total:.0f} % |")
    lines.append(f"| coordination, waiting threads, other | {rest:.1f} | | {100 * rest / total:.0f} % |")
    return "\n".join(lines)
