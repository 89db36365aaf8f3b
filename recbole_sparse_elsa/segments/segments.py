"""Segments of a catalogue: a tree, a cut through it, and the file that holds both."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
from scipy.sparse import csr_matrix

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import OptionError, SegmentsFileError
from recbole_sparse_elsa.options import require_regular_file, require_whole_number, shown
from recbole_sparse_elsa.output import write_text

FORMAT = "recbole_sparse_elsa segments"
FORMAT_VERSION = 1
# Segments that share a name are told apart by so many items at most.
_MOST_ITEMS_IN_NAME = 3


@dataclass(frozen=True)
class SegmentTree:
    """How segments merge, from the leaves, the most segments that there can be, to a single one.

    A node is a segment: the leaves are numbered from 0, and what each merge makes after them, as in
    scipy.cluster.hierarchy. A signed factor is written as a number: twice the latent dimension, and one more if the
    sign is negative.

    Attributes
    ----------
    item_tokens : list of str
        The items, in the order of the item embeddings.
    embedding_size : int
        Number of latent dimensions.
    min_size : int
        Items that every segment has at least.
    leaf_of_item : numpy.ndarray
        int64, shape ``(n_items,)``; -1 for an item that is left over.
    factors_of_leaf : list of list of int
        The signed factors of each leaf.
    merges : list of list of int
        Pairs of nodes, one fewer than leaves, in the order in which they merge.
    prominence : numpy.ndarray
        float64, shape ``(n_items,)``: the items of a segment are listed from the largest to the smallest.
    names : list of str or None
        The name of each node; None while there are none.
    labels : list of str or None
        What each item is called on a page, such as its title; None if it is called by its token.
    details : list of str or None
        What stands below it there, such as its year and genres; None while nothing is known.
    """

    item_tokens: list[str]
    embedding_size: int
    min_size: int
    leaf_of_item: np.ndarray
    factors_of_leaf: list[list[int]]
    merges: list[list[int]]
    prominence: np.ndarray
    names: list[str] | None = None
    labels: list[str] | None = None
    details: list[str] | None = None

    @property
    def n_leaves(self) -> int:
        """The most segments that there can be."""
        return len(self.factors_of_leaf)

    def leaves_of_node(self, node: int) -> list[int]:
        """The leaves that a node is merged from, rising."""
        leaves, nodes = list[int](), [node]
        while nodes:
            node = nodes.pop()
            if node < self.n_leaves:
                leaves.append(node)
            else:
                nodes += self.merges[node - self.n_leaves]
        return sorted(leaves)

    @cached_property
    def items_of_leaf(self) -> list[np.ndarray]:
        """The places of each leaf's items: int64 arrays, rising."""
        order = np.argsort(self.leaf_of_item, kind="stable")
        bounds = np.searchsorted(self.leaf_of_item[order], np.arange(self.n_leaves + 1))
        return [order[start:end] for start, end in zip(bounds, bounds[1:])]

    def items_of_node(self, node: int) -> np.ndarray:
        """The places of a node's items, the most prominent first: int64."""
        items = np.sort(np.concatenate([self.items_of_leaf[leaf] for leaf in self.leaves_of_node(node)]))
        return items[np.argsort(-self.prominence[items], kind="stable")]

    def label(self, item: int) -> str:
        """What the item at a place is called."""
        return self.item_tokens[item] if self.labels is None else self.labels[item]

    def detail(self, item: int) -> str:
        """What is told of the item at a place beside its label."""
        return "" if self.details is None else self.details[item]


@dataclass(frozen=True)
class Segment:
    """A segment: a set of items that share signed factors.

    Attributes
    ----------
    node : int
        Its number in the tree, which stays the same at every cut that has it.
    name : str
        Its name; no other segment of the cut has the same.
    factors : list of tuple of int
        Latent dimension and sign (1 or -1) of each of its signed factors.
    items : numpy.ndarray
        int64: the places of its items in the item embeddings, the most prominent first.
    item_tokens : list of str
        Their tokens.
    item_labels : list of str
        What they are called: the tokens, unless the segments were named from metadata.
    """

    node: int
    name: str
    factors: list[tuple[int, int]]
    items: np.ndarray = field(repr=False)
    item_tokens: list[str] = field(repr=False)
    item_labels: list[str] = field(repr=False)

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.items)


class Segments(Sequence[Segment]):
    """The segments of a catalogue at one cut through their tree: a sequence of Segment, the largest first.

    Made by `segment_catalogue`, or loaded from a file.

    Parameters
    ----------
    tree : SegmentTree
        The tree.
    n_segments : int
        Where it is cut.

    Attributes
    ----------
    tree : SegmentTree
        The tree.

    Raises
    ------
    OptionError
        The tree cannot be cut into so many segments.
    """

    def __init__(self, tree: SegmentTree, n_segments: int) -> None:
        require_whole_number("n_segments", n_segments, at_least=1)
        if n_segments > tree.n_leaves:
            raise OptionError(
                f"n_segments is {n_segments}, but there can be at most {tree.n_leaves} segments of at least "
                f"{tree.min_size} items; a smaller min_size allows more"
            )
        self.tree = tree
        nodes = set(range(tree.n_leaves))
        for place, merged in enumerate(tree.merges[: tree.n_leaves - n_segments]):
            nodes -= set(merged)
            nodes.add(tree.n_leaves + place)
        items = {node: tree.items_of_node(node) for node in nodes}
        names = _distinct_names(tree, items)
        self._segments: list[Segment] = []
        for node in sorted(nodes, key=lambda node: (-len(items[node]), node)):
            factors = sorted(factor for leaf in tree.leaves_of_node(node) for factor in tree.factors_of_leaf[leaf])
            self._segments.append(
                Segment(
                    node=node,
                    name=names[node],
                    factors=[(factor // 2, -1 if factor % 2 else 1) for factor in factors],
                    items=items[node],
                    item_tokens=[tree.item_tokens[item] for item in items[node]],
                    item_labels=[tree.label(item) for item in items[node]],
                )
            )

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, place: int) -> Segment: ...

    @overload
    def __getitem__(self, place: slice) -> list[Segment]: ...

    def __getitem__(self, place: int | slice) -> Segment | list[Segment]:
        return self._segments[place]

    @property
    def left_over(self) -> list[str]:
        """The tokens of the items that no segment has."""
        return [self.tree.item_tokens[item] for item in np.flatnonzero(self.tree.leaf_of_item < 0)]

    @cached_property
    def place_of_item(self) -> dict[str, int]:
        """The place of each item in the item embeddings, by its token."""
        return {token: place for place, token in enumerate(self.tree.item_tokens)}

    @cached_property
    def segment_of_item(self) -> np.ndarray:
        """The place of each item's segment: int64, shape ``(n_items,)``; -1 for an item that is left over."""
        places = np.full(len(self.tree.item_tokens), -1, dtype=np.int64)
        for place, segment in enumerate(self):
            places[segment.items] = place
        return places

    @cached_property
    def vectors(self) -> csr_matrix:
        """The segments as latent vectors: float32, shape ``(n_segments, embedding_size)``.

        1 or -1 on the segment's signed factors, scaled to norm 1 (method page, section 7). A dimension that a segment
        has with both signs is 0.
        """
        entries = [(place, *factor) for place, segment in enumerate(self) for factor in segment.factors]
        rows, columns, signs = np.array(entries).T
        vectors = csr_matrix((signs.astype(np.float32), (rows, columns)), shape=(len(self), self.tree.embedding_size))
        vectors.sum_duplicates()
        norms = np.sqrt(vectors.multiply(vectors).sum(axis=1)).A1
        vectors.data /= np.repeat(np.maximum(norms, 1), np.diff(vectors.indptr)).astype(np.float32)
        return vectors

    def cut(self, n_segments: int) -> Segments:
        """The same tree, cut into another number of segments: they unite these, or are parts of these.

        Raises
        ------
        OptionError
            The tree cannot be cut into so many segments.
        """
        return Segments(self.tree, n_segments)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tree and the cut as a JSON file, whole or not at all.

        Raises
        ------
        OptionError
            The file cannot be written (OutputError), or a text in it not be encoded.
        """
        tree = dataclasses.asdict(self.tree)
        tree = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in tree.items()}
        start = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "package_version": recbole_sparse_elsa.__version__,
            "n_segments": len(self),
        }
        try:
            write_text(path, json.dumps({**start, **tree}, ensure_ascii=False) + "\n")
        except UnicodeEncodeError as error:
            raise OptionError(f"segments file {path}: {error.object[error.start]!r} is no text for UTF-8") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Segments:
        """Read segments that `save` wrote. The file is plain JSON, so that it need not be trusted.

        Raises
        ------
        SegmentsFileError
            The file is missing, damaged, or of another version of the format.
        """
        try:
            require_regular_file(path)
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except OSError as error:
            raise SegmentsFileError(f"segments file {path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise SegmentsFileError(f"segments file {path} is damaged, or no segments file: {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise SegmentsFileError(f"{path} is no segments file; sparse-elsa segments makes one")
        if content.get("format_version") != FORMAT_VERSION:
            raise SegmentsFileError(
                f"segments file {path} has version {shown(content.get('format_version'))} of the format, written by "
                f"recbole_sparse_elsa {shown(content.get('package_version'))}, but version "
                f"{FORMAT_VERSION} is read here: make it again"
            )
        try:
            return cls(_checked_tree(content), content["n_segments"])
        except KeyError as error:
            raise SegmentsFileError(f"segments file {path} is damaged: {error.args[0]} is missing") from None
        except ValueError as error:  # OptionError too
            raise SegmentsFileError(f"segments file {path} is damaged: {error}") from None


def _name(tree: SegmentTree, node: int, items: np.ndarray) -> str:
    return ", ".join(map(tree.label, items[:2])) if tree.names is None else tree.names[node]


def _distinct_names(tree: SegmentTree, items: Mapping[int, np.ndarray]) -> dict[int, str]:
    """The names of the nodes of a cut. Those that share one are told apart by their most prominent items."""
    names = {node: _name(tree, node, items[node]) for node in sorted(items)}
    by_name: dict[str, list[int]] = {}
    for node, name in names.items():
        by_name.setdefault(name, []).append(node)
    for name, nodes in by_name.items():
        for n_items in range(1, _MOST_ITEMS_IN_NAME + 1):
            told_apart = {node: f"{name}: {', '.join(map(tree.label, items[node][:n_items]))}" for node in nodes}
            if len(nodes) == 1 or len(set(told_apart.values())) == len(nodes):
                break
        if len(nodes) > 1:
            names.update(told_apart)
    taken: set[str] = set()
    for node, name in names.items():
        # Titles that are the same too.
        number, distinct = 1, name
        while distinct in taken:
            number += 1
            distinct = f"{name} ({number})"
        taken.add(distinct)
        names[node] = distinct
    return names


def _checked_tree(content: Mapping[str, Any]) -> SegmentTree:
    """The tree in a file; KeyError or ValueError where it is none."""
    content = {"details": None, **content}  # which version 0.1.0 did not write
    tree = SegmentTree(**{name: content[name] for name in SegmentTree.__dataclass_fields__})
    n_items = len(_list_of("item_tokens", str, tree.item_tokens))
    n_leaves = len(_list_of("factors_of_leaf", list, tree.factors_of_leaf))
    _require(n_items > 0 and len(set(tree.item_tokens)) == n_items, "item_tokens are not distinct")
    for name in ("embedding_size", "min_size"):
        require_whole_number(name, content[name], at_least=1)
        _require(content[name] < 2**31, f"{name} is wrong")
    _list_of("leaf_of_item", int, tree.leaf_of_item, n_items)
    factors = [factor for of_leaf in tree.factors_of_leaf for factor in _list_of("factors_of_leaf", int, of_leaf)]
    in_range = all(0 <= factor < 2 * tree.embedding_size for factor in factors)
    _require(all(tree.factors_of_leaf) and in_range and len(set(factors)) == len(factors), "factors_of_leaf is wrong")
    _require({*tree.leaf_of_item} - {-1} == set(range(n_leaves)), "leaf_of_item is wrong")
    _list_of("merges", list, tree.merges, n_leaves - 1)
    for place, pair in enumerate(tree.merges):
        in_range = all(0 <= node < n_leaves + place for node in _list_of("merges", int, pair, 2))
        _require(in_range, "merges is wrong")
    merged = [node for pair in tree.merges for node in pair]
    _require(len(set(merged)) == len(merged), "merges is wrong")
    _list_of("prominence", (int, float), tree.prominence, n_items)
    _require(all(abs(value) <= sys.float_info.max for value in tree.prominence), "prominence is wrong")
    if tree.names is not None:
        _list_of("names", str, tree.names, 2 * n_leaves - 1)
    if tree.labels is not None:
        _list_of("labels", str, tree.labels, n_items)
    if tree.details is not None:
        _list_of("details", str, tree.details, n_items)
    return dataclasses.replace(
        tree,
        leaf_of_item=np.array(tree.leaf_of_item, dtype=np.int64),
        prominence=np.array(tree.prominence, dtype=np.float64),
    )


def _list_of(name: str, kind: type | tuple[type, ...], values: Any, length: int | None = None) -> list[Any]:
    _require(isinstance(values, list) and length in (None, len(values)), f"{name} is wrong")
    # In JSON true and false are no numbers.
    _require(all(isinstance(value, kind) and not isinstance(value, bool) for value in values), f"{name} is wrong")
    if kind is str:
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} has a text that UTF-8 cannot hold") from None
    return values


def _require(holds: object, message: str) -> None:
    if not holds:
        raise ValueError(message)
