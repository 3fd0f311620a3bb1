"""What the pages share: head, style, script, and the blocks that they are made of. A page loads nothing."""

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
    """A part of a page.

    Attributes:
        id: Of the element, for links.
        heading: Plain text.
        content: HTML.
        link: Words of the link at the top of the page; the heading if empty.
    """

    id: str
    heading: str
    content: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure in large print with its words; `status` gives it a stripe in the colour of an outcome."""

    number: str
    words: str
    detail: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know: `note`, or `warning` where something is to be done or minded; plain text, `code` in it."""

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
    """A whole page.

    Args:
        kind: What sort of page it is, plain text.
        title: Plain text.
        made: When and by what, HTML.
        lead: HTML between the links and the first section.
        sections: In order.
        footer: HTML.
        scripts: Files of this package that run after `page.js`.
    """
    script = "\n".join(map(asset, ("page.js", *scripts)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(asset("page.html")).substitute(
        # The only script that runs is this one, nothing is loaded from anywhere.
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
    """A box of its own."""
    return f'<div class="card">{content}</div>'


def columns(*contents: str) -> str:
    """Two or three boxes side by side; one below the other in a narrow window."""
    class_ = "pair" if len(contents) == 2 else "three"
    return f'<div class="{class_}">{"".join(map(card, contents))}</div>'


def tiles(found: Iterable[Tile], class_: str = "tiles") -> str:
    """Figures side by side."""
    return f'<div class="{class_}">{"".join(map(_tile, found))}</div>'


def _tile(tile: Tile) -> str:
    stripe = f'<span class="swatch k-{tile.status}" aria-hidden="true"></span>' if tile.status else ""
    detail = f"<small>{text(tile.detail)}</small>" if tile.detail else ""
    return (
        f'<div class="tile">{stripe}<strong>{text(tile.number)}</strong><span>{text(tile.words)}</span>{detail}</div>'
    )


def remarks(found: Iterable[Remark]) -> str:
    """A list of things to know, each with a badge."""
    return f'<ul class="findings">{"".join(map(_remark, found))}</ul>'


def _remark(one: Remark) -> str:
    body = _CODE.sub(lambda match: f"<code>{match[1]}</code>", text(one.body))
    return (
        f'<li class="is-{one.level}"><span class="badge">{_BADGES[one.level]}</span>'
        f"<div><strong>{text(one.head)}</strong><p>{body}</p></div></li>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], class_: str = "data") -> str:
    """A plain table; the first column is text, the others are numbers."""
    cells = "".join(f'<th scope="col">{text(one)}</th>' for one in head)
    body = "".join(
        "<tr>" + f'<th scope="row">{text(row[0])}</th>' + "".join(f"<td>{text(one)}</td>" for one in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<table class="{class_}"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'


def figure(title: str, picture: str, data: str = "", note: str = "", legend: str = "") -> str:
    """A chart with its title, legend, remark, and its numbers as a table that unfolds."""
    numbers = f'<details class="numbers"><summary>Numbers</summary>{data}</details>' if data else ""
    below = f'<p class="note">{text(note)}</p>' if note else ""
    return (
        f'<figure><figcaption>{text(title)}</figcaption>{legend}<div class="scroll">{picture}</div>'
        f"{below}{numbers}</figure>"
    )
