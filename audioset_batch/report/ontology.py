"""AudioSet's ontology as a tree: 632 nodes, of which 527 are labels; some have several parents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from audioset_batch.errors import InputRefused


@dataclass(frozen=True, slots=True)
class Node:
    """One place in the tree. A node of the ontology with several parents has several places."""

    mid: str
    name: str
    children: tuple[Node, ...]

    def below(self) -> Iterator[str]:
        """MIDs of this node and of all its descendants, with repetitions."""
        yield self.mid
        for child in self.children:
            yield from child.below()


def load_tree(path: Path) -> tuple[Node, ...] | None:
    """The roots in the order of the file; None without a file.

    Raises:
        InputRefused: the file is not the AudioSet ontology.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        children = {str(entry["id"]): tuple(map(str, entry["child_ids"])) for entry in entries}
        names = {str(entry["id"]): str(entry["name"]) for entry in entries}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefused(
            f"{path}: expected the AudioSet ontology, a JSON list of nodes with id, name and child_ids: {error!r}. "
            "Remove it, or fetch it again"
        ) from error
    below = {child for group in children.values() for child in group}
    return tuple(_node(mid, names, children, ()) for mid in children if mid not in below)


def _node(mid: str, names: Mapping[str, str], children: Mapping[str, tuple[str, ...]], above: tuple[str, ...]) -> Node:
    # A damaged file may contain cycles; a node is never placed below itself.
    path = (*above, mid)
    inner = [child for child in children.get(mid, ()) if child in names and child not in path]
    return Node(mid, names[mid], tuple(_node(child, names, children, path) for child in inner))
