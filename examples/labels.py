"""Prints for each label of a data directory how many of its planned segments have a clip, the scarcest first.

python examples/labels.py DATADIR
"""

import sys

from audioset_batch import load_classes, load_manifest


def main(data_dir: str) -> None:
    """Print one line for each label that is planned."""
    names = load_classes(data_dir).names_of
    table = load_manifest(data_dir, status=None, columns=["labels", "status"])
    labels = table.assign(labels=table["labels"].map(names), ok=table["status"] == "ok").explode("labels")
    counts = labels.groupby("labels")["ok"].agg(["sum", "size"])
    for name, (ok, planned) in counts.sort_values(["sum", "size"]).iterrows():
        print(f"{ok:6,} of {planned:6,}  {name}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/labels.py DATADIR")
    main(sys.argv[1])
