"""The page in a real browser: no errors, sorting, searching, folding, keyboard, light, dark, narrow, print."""

from pathlib import Path

import pytest

from audioset_batch.demo.learn_report import write_report as write_learning_page
from audioset_batch.report import load_summary, write_report
from tests.support.browser import Page
from tests.support.report_data import CLASSES, HOSTILE, hostile_dataset, learning_material

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

NAMES = "[...document.querySelectorAll('#label-table tbody tr:not([hidden]) th')].map(e => e.firstChild.textContent)"
TREE = (
    "[...document.querySelectorAll('#label-tree .label > b')].filter(e => e.checkVisibility()).map(e => e.textContent)"
)
PRESS = "document.querySelectorAll('#label-table thead button')[{}].click()"
SORTS = "[...document.querySelectorAll('#label-table thead th')].map(e => e.ariaSort)"


@pytest.fixture
def page(chromium: Page, merged: Path) -> Page:
    """The report of the made-up data set, freshly opened."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(write_report(merged)[0])
    return chromium


def put(page: Page, element: str, value: str) -> None:
    page.js(
        f"(() => {{ const e = document.getElementById('{element}'); e.value = '{value}'; "
        "e.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


def test_console_is_silent_and_the_page_alone_is_loaded(page: Page, merged: Path) -> None:
    assert page.problems == []
    assert page.requests == [(merged / "report.html").as_uri()]
    assert page.js("document.querySelectorAll('svg.chart').length") == 7


def test_sorting(page: Page, merged: Path) -> None:
    labels = load_summary(merged)["labels"]
    ok = {one["name"]: one["ok"] for one in labels}
    shown = page.js(NAMES)
    assert [ok[name] for name in shown] == sorted(ok.values(), reverse=True)
    page.js(PRESS.format(1))
    assert [ok[name] for name in page.js(NAMES)] == sorted(ok.values())
    assert page.js(SORTS)[:3] == ["none", "ascending", "none"]
    page.js(PRESS.format(0))
    assert page.js(NAMES) == sorted(ok, key=lambda name: name.casefold())
    assert page.js(SORTS)[:3] == ["ascending", "none", "none"]
    page.js(PRESS.format(0))
    assert page.js(NAMES) == sorted(ok, key=lambda name: name.casefold(), reverse=True)
    assert page.problems == []


def test_sorting_by_keyboard(page: Page) -> None:
    page.js("document.querySelectorAll('#label-table thead button')[0].focus()")
    page.key("Enter", "\r")
    assert page.js(SORTS)[0] == "ascending"


def test_search_filter_and_threshold(page: Page, merged: Path) -> None:
    labels = load_summary(merged)["labels"]
    put(page, "search", "SOUND 12")
    assert page.js(NAMES) == ["Sound 12"]
    assert page.js("document.getElementById('shown').textContent") == "1 of 40 labels"
    put(page, "search", "/m/0007")
    assert page.js(NAMES) == ["Sound 7"]
    put(page, "search", "")
    put(page, "filter", "under")
    put(page, "threshold", "40")
    under = {one["name"] for one in labels if one["planned"] and one["ok"] < 40}
    assert set(page.js(NAMES)) == under
    marks = "[...document.querySelectorAll('#label-table tr:not([hidden]) .mark')].every(e => e.checkVisibility())"
    assert page.js(marks) is True
    put(page, "filter", "all")
    put(page, "threshold", "0")
    assert len(page.js(NAMES)) == len(CLASSES)
    assert page.js("[...document.querySelectorAll('#label-table tbody .mark')].some(e => e.checkVisibility())") is False


def test_tree_folds_open(page: Page) -> None:
    page.js("document.getElementById('view-tree').click()")
    assert page.js(TREE) == ["Animal sounds", "Sounds of things"]
    page.js("document.querySelector('#label-tree summary').focus()")
    page.key("Enter", "\r")
    assert page.js(TREE)[:3] == ["Animal sounds", "Sound 0", "Sound 4"]
    page.key("Enter", "\r")
    assert page.js(TREE) == ["Animal sounds", "Sounds of things"]
    put(page, "search", "sound 13")
    assert page.js(TREE) == ["Animal sounds", "Sound 12", "Sound 13"]
    put(page, "search", "")
    page.js("document.getElementById('unfold').click()")
    assert set(page.js(TREE)) == {"Animal sounds", "Sounds of things", *CLASSES.values()}
    assert page.js(TREE).count("Sound 20") == 2, "it has two parents"
    page.js("document.getElementById('fold').click()")
    assert page.js(TREE) == ["Animal sounds", "Sounds of things"]


def test_numbers_of_a_chart_by_mouse_and_by_arrow_keys(page: Page) -> None:
    page.js("document.querySelector('svg.chart').focus()")
    page.key("ArrowRight")
    tip = "document.getElementById('tip').textContent"
    first = page.js(tip)
    assert "balanced train" in first
    assert " ok, " in first
    page.key("ArrowRight")
    assert page.js(tip) != first
    page.js("document.querySelector('svg.chart .pause').scrollIntoView({block: 'center'})")
    x, y = page.js("(() => { const b = document.querySelector('svg.chart .pause').getBoundingClientRect(); "
                   "return [b.x + b.width / 2, b.y + b.height / 2] })()")  # fmt: skip
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert page.js(tip).startswith("campus: HTTP Error 429 from 2 Mar 22:17:00 for 15 min")


def luminance(page: Page, selector: str, prop: str) -> float:
    values = page.js(f"getComputedStyle(document.querySelector('{selector}')).{prop}.match(/[0-9.]+/g).map(Number)")
    parts = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in values[:3]]
    return float(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(chromium: Page, merged: Path, scheme: str) -> None:
    """Text has the contrast that WCAG AA asks for, 4.5, on the card and on bars."""
    chromium.open(write_report(merged)[0], scheme=scheme)
    card = luminance(chromium, ".card", "backgroundColor")
    assert (card < 0.2) is (scheme == "dark")
    for selector in ("h2", ".note", ".legend", ".card a, nav a", ".numbers > summary"):
        ink = luminance(chromium, selector, "color")
        assert (max(ink, card) + 0.05) / (min(ink, card) + 0.05) >= 4.5, selector
    for selector in (".chart text.axis", ".chart text.name"):
        ink = luminance(chromium, selector, "fill")
        assert (max(ink, card) + 0.05) / (min(ink, card) + 0.05) >= 4.5, selector
    for status in ("ok", "unavailable"):
        bar, ink = luminance(chromium, f"rect.s-{status}", "fill"), luminance(chromium, f"text.on-{status}", "fill")
        assert (max(bar, ink) + 0.05) / (min(bar, ink) + 0.05) >= 4.5, status


@pytest.mark.parametrize("width", [380, 768, 1600])
def test_fits_every_window(chromium: Page, merged: Path, width: int) -> None:
    chromium.open(write_report(merged)[0], width=width)
    assert chromium.js("document.documentElement.scrollWidth") <= width


def test_print(chromium: Page, merged: Path) -> None:
    path = write_report(merged)[0]
    chromium.open(path, scheme="dark", media="print")
    assert luminance(chromium, "body", "backgroundColor") == pytest.approx(1, abs=0.01), "no black paper"
    assert chromium.js("document.querySelector('.controls').checkVisibility()") is False
    last = "(() => { const l = document.querySelector('#label-table tbody tr:last-child').getBoundingClientRect();"
    box = "const b = document.getElementById('list').getBoundingClientRect(); return l.bottom <= b.bottom + 1 })()"
    assert chromium.js(last + box) is True, "all rows are on the paper"
    assert chromium.pdf().startswith(b"%PDF")


def test_hostile_markup_does_nothing(chromium: Page, tmp_path: Path) -> None:
    data = hostile_dataset(tmp_path / "data")
    chromium.problems.clear()
    chromium.requests.clear()
    path = write_report(data.root)[0]
    chromium.open(path)
    assert chromium.problems == []
    assert chromium.requests == [path.as_uri()]
    assert HOSTILE in chromium.js(NAMES)
    chromium.js("document.querySelectorAll('svg.chart')[0].focus()")
    chromium.key("ArrowRight")
    assert chromium.js("document.querySelectorAll('#tip *').length") == 0


def test_without_ontology_or_rows(chromium: Page, tmp_path: Path) -> None:
    from audioset_batch.merge import merge
    from tests.support.report_data import plan, write_dataset

    data = write_dataset(tmp_path / "data", {"eval_segments": plan(4, 1, list(CLASSES))}, done=0)
    merge(data.root)
    chromium.problems.clear()
    chromium.open(write_report(data.root)[0])
    assert chromium.problems == []
    assert chromium.js("document.getElementById('view-tree').disabled") is True
    put(chromium, "search", "sound 1")
    assert chromium.problems == []


def test_line_of_the_threshold_moves_along(page: Page) -> None:
    """At 10 clips the line is where the axis says 10."""
    put(page, "threshold", "10")
    line = page.js("document.querySelector('#limit line').getBoundingClientRect().y")
    box = page.js(
        "(() => { const e = document.getElementById('limit').closest('svg'); const t = [...e.querySelectorAll('text')]"
        ".find(t => t.textContent === '10').getBoundingClientRect(); return [t.top, t.bottom] })()"
    )
    assert box[0] < line < box[1]
    assert page.js("document.querySelector('#limit text').textContent") == "threshold 10"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 380)])
def test_the_learning_page_has_the_same_form(chromium: Page, tmp_path: Path, scheme: str, width: int) -> None:
    write_learning_page(path := tmp_path / "learn.html", learning_material(tmp_path))
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(path, width=width, scheme=scheme)
    assert chromium.problems == []
    assert chromium.requests == [path.as_uri()]
    assert chromium.js("document.documentElement.scrollWidth") <= width
    card = luminance(chromium, ".card", "backgroundColor")
    assert (card < 0.2) is (scheme == "dark")
    for selector, prop in (("h2", "color"), (".note", "color"), (".chart text.axis", "fill")):
        ink = luminance(chromium, selector, prop)
        assert (max(ink, card) + 0.05) / (min(ink, card) + 0.05) >= 4.5, selector
    chromium.js("document.querySelectorAll('svg.chart')[1].focus()")
    chromium.key("ArrowRight")
    assert chromium.js("document.getElementById('tip').textContent") == "step 5: loss 2"
