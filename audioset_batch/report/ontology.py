"""AudioSet's ontology as a tree: 632 nodes, of which 527 are labels; some have several parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audioset_batch.plan.labels import Ontology, load_ontology


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
    if not path.exists():
        return None
    ontology = load_ontology(path)
    below = {child for group in ontology.children.values() for child in group}
    return tuple(_node(mid, ontology, ()) for mid in ontology.children if mid not in below)


def _node(mid: str, ontology: Ontology, above: tuple[str, ...]) -> Node:
    # A damaged file may contain cycles; a node is never placed below itself.
    path = (*above, mid)
    inner = [child for child in ontology.children[mid] if child in ontology.names and child not in path]
    return Node(mid, ontology.names[mid], tuple(_node(child, ontology, path) for child in inner))
