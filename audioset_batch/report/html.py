"""Shared by all pages: head, style sheet, script, and the blocks of the body. A page loads no other file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Final, Literal

from audioset_batch.report.words import text

_BADGES: Final = {"warning": "Important", "note": "Note", "good": "Good"}
_CODE: Final = re.compile(r"`([^`]*)`")


@dataclass(frozen=True, slots=True)
class PageSection:
    """A section of a page.

    Attributes:
        id: The `id` of its element, for links.
        heading: Plain text.
        content: HTML.
        link: Text of the link at the top of the page; the heading if empty.
    """

    id: str
    heading: str
    content: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number in large type with its label; `status` adds a stripe in the colour of that status."""

    number: str
    words: str
    detail: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know, in plain text with `code` in backticks; a `warning` asks for an action or for care."""

    level: Literal["good", "note", "warning"]
    head: str
    body: str


def document(
    kind: str,
    title: str,
    made: str,
    lead: str,
    sections: Sequence[PageSection],
    footer: str,
    scripts: Iterable[str] = (),
) -> str:
    """A complete page.

    Args:
        kind: The kind of page, plain text.
        title: Plain text.
        made: When and by what it was made, HTML.
        lead: HTML between the links and the first section.
        sections: The sections in order.
        footer: HTML.
        scripts: Script files of this package to run after `page.js`.
    """
    script = "\n".join(map(asset, ("page.js", *scripts)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(asset("page.html")).substitute(
        # Only this script may run, and nothing may be loaded.
        policy="default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        style=asset("page.css"),
        kind=text(kind),
        title=text(title),
        made=made,
        links="".join(f'<a href="#{one.id}">{text(one.link or one.heading)}</a>' for one in sections),
        content="\n".join(
            [
                lead,
                *(f'<section id="{s.id}"><h2>{text(s.heading)}</h2>\n{s.content}\n</section>' for s in sections),
            ]
        ),
        footer=footer,
        script=script,
    )


def asset(name: str) -> str:
    """The text of a file of this package."""
    return (files("audioset_batch.report") / name).read_text(encoding="utf-8")


def card(content: str) -> str:
    """A box with a border."""
    return f'<div class="card">{content}</div>'


def columns(*contents: str) -> str:
    """Two or three boxes side by side, or stacked in a narrow window."""
    class_ = "pair" if len(contents) == 2 else "three"
    return f'<div class="{class_}">{"".join(map(card, contents))}</div>'


def tiles(found: Iterable[Tile], class_: str = "tiles") -> str:
    """Tiles side by side."""
    return f'<div class="{class_}">{"".join(map(_tile, found))}</div>'


def _tile(tile: Tile) -> str:
    stripe = f'<span class="swatch k-{tile.status}" aria-hidden="true"></span>' if tile.status else ""
    detail = f"<small>{text(tile.detail)}</small>" if tile.detail else ""
    return (
        f'<div class="tile">{stripe}<strong>{text(tile.number)}</strong><span>{text(tile.words)}</span>{detail}</div>'
    )


def remarks(found: Iterable[Remark]) -> str:
    """A list of remarks, each with a badge."""
    return f'<ul class="findings">{"".join(map(_remark, found))}</ul>'


def _remark(one: Remark) -> str:
    body = _CODE.sub(lambda match: f"<code>{match[1]}</code>", text(one.body))
    return (
        f'<li class="is-{one.level}"><span class="badge">{_BADGES[one.level]}</span>'
        f"<div><strong>{text(one.head)}</strong><p>{body}</p></div></li>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], class_: str = "data") -> str:
    """A table whose first column is text; the other columns are numbers."""
    cells = "".join(f'<th scope="col">{text(one)}</th>' for one in head)
    body = "".join(
        "<tr>" + f'<th scope="row">{text(row[0])}</th>' + "".join(f"<td>{text(one)}</td>" for one in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<table class="{class_}"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'


def figure(title: str, picture: str, data: str = "", note: str = "", legend: str = "") -> str:
    """A chart with its title, legend and note; `data`, a table of its numbers, unfolds."""
    numbers = f'<details class="numbers"><summary>Numbers</summary>{data}</details>' if data else ""
    below = f'<p class="note">{text(note)}</p>' if note else ""
    return (
        f'<figure><figcaption>{text(title)}</figcaption>{legend}<div class="scroll">{picture}</div>'
        f"{below}{numbers}</figure>"
    )
