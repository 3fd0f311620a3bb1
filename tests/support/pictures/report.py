"""Makes docs/images/report-*.png: the report of a made-up run, as Chromium shows it.

    .venv/bin/python -m tests.support.pictures.report [LISTS]

LISTS is a folder with the released eval_segments.csv, balanced_train_segments.csv, class_labels_indices.csv and
ontology.json; the labels are real then, the outcomes made up all the same. Without it the labels are made up, too.
"""

import csv
import random
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image  # (comes with matplotlib: ./setup.sh --with learn)

from audioset_batch.merge import merge
from audioset_batch.report import write_report
from tests.support import CHECKOUT
from tests.support.browser import browse, find_browser
from tests.support.report_data import CLASSES, plan, read_released, write_dataset, write_ontology

SUBSETS = ("balanced_train_segments", "eval_segments")


def make_dataset(root: Path, lists: Path | None) -> None:
    """Two subsets of which a little is left to do."""
    if lists is None:
        write_dataset(root, {name: plan(4000, 1, list(CLASSES)) for name in SUBSETS}, done=0.97)
        write_ontology(root, CLASSES)
        return
    with (lists / "class_labels_indices.csv").open() as file:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    subsets = {name: read_released(lists / f"{name}.csv") for name in SUBSETS}
    for rows in subsets.values():
        random.Random(1).shuffle(rows)
    write_dataset(root, subsets, names=names, done=0.97)
    shutil.copy(lists / "ontology.json", root)


def main() -> None:
    """Write the pictures."""
    program = find_browser()
    if program is None:
        sys.exit("no chromium here: apt-get install chromium")
    target = CHECKOUT / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browse(program) as page:
        root = Path(folder) / "audioset"
        make_dataset(root, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
        merge(root, write_csv=False)
        path = write_report(root)[0]
        page.open(path)
        page.js("document.querySelector('.made code').textContent = '/scratch/audioset'")
        page.picture(target / "report.png")
        page.js("document.getElementById('view-tree').click()")
        page.js("[...document.querySelectorAll('#label-tree details')].slice(0, 2).forEach(e => { e.open = true })")
        top, height = page.js(
            "(() => { const e = document.getElementById('labels'); return [e.offsetTop, e.offsetHeight] })()"
        )
        page.picture(target / "report-labels.png", top=top, height=height + 20)
        page.open(path, scheme="dark")
        page.js("document.querySelector('.made code').textContent = '/scratch/audioset'")
        top = page.js("document.getElementById('labels').offsetTop")
        page.picture(target / "report-dark.png", height=top)
        assert not page.problems, page.problems
    for picture in target.glob("report*.png"):
        with Image.open(picture) as image:
            small = image.convert("RGB").quantize(128)
        small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
