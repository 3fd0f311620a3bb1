"""All labels: as a sortable table, and as the tree of the ontology (`<details>`, which fold without a script)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audioset_batch.humanize import counted
from audioset_batch.report.numbers import label_name
from audioset_batch.report.ontology import Node
from audioset_batch.report.words import count, percent, subset_name, text

Label = Mapping[str, Any]


def label_table(labels: Sequence[Label], subsets: Sequence[str], threshold: int) -> str:
    """One row per label, in descending order of clips. Columns are sorted by the `data-v` of their cells."""
    columns = [
        ("Label", "text"), ("Clips", "number"), ("Planned", "number"), ("Available", "number"),
        *((subset_name(name).removesuffix(" train"), "number") for name in subsets if len(subsets) > 1),
        ("To do", "number"),
    ]  # fmt: skip
    head = "".join(
        f'<th scope="col" class="{kind}" aria-sort="{"descending" if name == "Clips" else "none"}">'
        f'<button type="button">{text(name)}<span class="arrow" aria-hidden="true"></span></button></th>'
        for name, kind in columns
    )
    ordered = sorted(labels, key=lambda one: (-one["ok"], -one["planned"], label_name(one)))
    rows = "".join(_row(one, subsets if len(subsets) > 1 else (), threshold) for one in ordered)
    return f'<table class="labels" id="label-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(one: Label, subsets: Sequence[str], threshold: int) -> str:
    cells = [
        f'<th scope="row" data-v="{text(label_name(one).casefold())}">{text(label_name(one))}'
        f"<code>{text(one['mid'])}</code>{_mark(one, threshold)}</th>",
        _number(one["ok"]),
        _number(one["planned"]),
        f'<td data-v="{_share(one):.5f}">{_bar(one)}</td>',
    ]
    for subset in subsets:
        own = one["subsets"][subset]
        of = f"<small> / {count(own['planned'])}</small>" if own["planned"] else ""
        cells.append(f'<td data-v="{own["ok"]}">{count(own["ok"]) + of if own["planned"] else "–"}</td>')
    cells.append(_number(one["failed"] + one["pending"]))
    return f"<tr{_data(one, threshold)}>{''.join(cells)}</tr>"


def _data(one: Label, threshold: int) -> str:
    under = ' class="under"' if one["planned"] and one["ok"] < threshold else ""
    return f'{under} data-ok="{one["ok"]}" data-planned="{one["planned"]}"'


def _mark(one: Label, threshold: int) -> str:
    """Visible only in rows of class `under`, which the script sets when the threshold changes."""
    words = "none" if one["ok"] == 0 else "few"
    return f'<span class="mark" title="fewer clips than the threshold">{words}</span>' if one["planned"] else ""


def _number(value: int) -> str:
    return f'<td data-v="{value}">{count(value)}</td>'


def _share(one: Label) -> float:
    return float(one["ok"] / one["planned"]) if one["planned"] else -1.0


def _bar(one: Label) -> str:
    if not one["planned"]:
        return '<span class="share">not planned</span>'
    width = 100 * _share(one)
    return (
        f'<span class="meter" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
        f'<span class="share">{percent(one["ok"], one["planned"])}</span>'
    )


def label_tree(roots: Sequence[Node], labels: Sequence[Label], threshold: int) -> str:
    """The ontology with the counts of its labels. Labels that it does not contain come last."""
    known = {str(one["mid"]): one for one in labels}
    inside = {mid for root in roots for mid in root.below()}
    parts = [_tree_node(root, known, threshold) for root in roots]
    others = [one for mid, one in known.items() if mid not in inside]
    if others:
        leaves = "".join(f'<div class="leaf"{_data(one, threshold)}>{_line(label_name(one), one, threshold)}</div>'
                         for one in others)  # fmt: skip
        parts.append(_fold(_line("Not in the ontology", None, threshold, " "), "", leaves))
    head = (
        '<div class="treehead" aria-hidden="true"><span>Label</span><span>Clips</span><span>Planned</span>'
        "<span>Available</span></div>"
    )
    return f'<div class="tree" id="label-tree">{head}{"".join(parts)}</div>'


def _tree_node(node: Node, known: Mapping[str, Label], threshold: int) -> str:
    one = known.get(node.mid)
    name = label_name(one) if one is not None and one["name"] else node.name
    data = _data(one, threshold) if one is not None else ""
    if not node.children:
        return f'<div class="leaf"{data}>{_line(name, one, threshold)}</div>'
    below = {mid for child in node.children for mid in child.below()}
    inner = "".join(_tree_node(child, known, threshold) for child in node.children)
    return _fold(_line(name, one, threshold, _below(below, known, threshold)), data, inner)


def _fold(line: str, data: str, inner: str) -> str:
    return f'<details class="branch"><summary{data}>{line}</summary><div class="twigs">{inner}</div></details>'


def _below(mids: Iterable[str], known: Mapping[str, Label], threshold: int) -> str:
    found = [known[mid] for mid in mids if mid in known and known[mid]["planned"]]
    if not found:
        return ""
    under = sum(one["ok"] < threshold for one in found)
    oks = " ".join(str(one["ok"]) for one in found)
    return f'<span class="below" data-oks="{oks}">{_below_words(under, len(found))}</span>'


def _below_words(under: int, labels: int) -> str:
    return f"{counted(labels, 'label')}, {under} under the threshold" if under else counted(labels, "label")


def _line(name: str, one: Label | None, threshold: int, below: str = "") -> str:
    mark = _mark(one, threshold) if one is not None else "" if below else '<span class="below">not a label</span>'
    numbers = (
        f'<span class="n">{count(one["ok"])}</span><span class="n">{count(one["planned"])}</span>'
        f'<span class="a">{_bar(one)}</span>'
        if one is not None
        else "<span></span><span></span><span></span>"
    )
    return f'<span class="label"><b>{text(name)}</b>{mark}{below}</span>{numbers}'
