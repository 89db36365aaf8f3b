"""How a catalogue falls into segments: dominant signed factors, merged where they are small or similar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.segments.segments import Segments, SegmentTree

# As many segments as are made unless a number is asked for.
DEFAULT_NUMBER = 50
# Merging takes time and memory that grow with the square of their number: 4,096 is the width of the paper's embeddings.
_MOST_FACTORS = 4096
# A segment has at most so many times the items of an even division, unless another ratio is asked for.
DEFAULT_RATIO = 3.0
# The bound on sizes rises with each merge. It is raised each time that the number of segments has fallen by 5 %,
# which saves comparing all of them at every merge.
_STEP = 1.05


def segment_catalogue(
    item_embeddings: Any,
    item_tokens: Sequence[str] | np.ndarray,
    n_segments: int | None = None,
    *,
    min_size: int = 10,
    max_ratio: float = DEFAULT_RATIO,
    small: str = "merge",
    popularity: Any = None,
) -> Segments:
    """Divide a catalogue into segments of items that share a dominant signed factor (method page, section 7).

    A signed factor is a latent dimension with a sign, and that of an item's weight of largest magnitude is the item's
    dominant one (the first of them, where weights are equal; where more than 4,096 are dominant, see
    `dominant_factors`). The items that share one form a segment. The smallest
    segment is merged into the one most similar to it, until none is smaller than ``min_size``; the segments that
    result are the leaves of a tree, which similar segments are merged to (Ward's criterion), and which can be cut at
    any number of segments. No merge makes a segment of more than ``max_ratio`` times the items that each would have if
    all had the same. Nothing is drawn at random: the same arguments give the same segments.

    Similarity is the mean of two cosines: of the sums of the segments' item embeddings (their latent directions), and
    of their members in a wider sense, the weights that each item has in the segments' signed factors, dominant or not.

    Parameters
    ----------
    item_embeddings : scipy.sparse matrix or array
        Real, shape ``(n_items, embedding_size)``; rows are scaled to L2 norm 1.
    item_tokens : sequence of str
        Distinct, shape ``(n_items,)``.
    n_segments : int, optional
        Number of segments; by default 50, or as many as there can be if those are fewer.
    min_size : int
        Items that a segment has at least.
    max_ratio : float
        Items that a segment has at most, as a multiple of those that it would have if all segments had the same: 3
        allows one of 20 segments 15 % of the items. At least 2, so that segments can be merged at all; infinity sets no
        bound. It holds at every cut; but a single signed factor stays whole, even where more items share it.
    small : str
        What becomes of smaller segments: "merge", or "drop", which makes their items left over.
    popularity : array of float, optional
        Shape ``(n_items,)``, such as the number of interactions: the items of a segment are listed in this order,
        the most popular first. By default in the order of the magnitude of their dominant weight.

    Returns
    -------
    Segments
        Every item is in one of them or is left over: those of dropped segments, and those without a non-zero.

    Raises
    ------
    OptionError
        An argument is not as described, or so many segments of that size cannot be had.

    Examples
    --------
    The first two items share a latent dimension, and so do the others:

    >>> from scipy.sparse import csr_array
    >>> from recbole_sparse_elsa.segments import segment_catalogue
    >>> item_embeddings = csr_array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.1, 0.9]])
    >>> tokens = ["Alien", "Blade Runner", "Casablanca", "Dr. Zhivago", "Evita"]
    >>> segments = segment_catalogue(item_embeddings, tokens, 2, min_size=1, popularity=[9, 8, 7, 6, 5])
    >>> for segment in segments:
    ...     print(segment.name, segment.size, segment.factors)
    Casablanca, Dr. Zhivago 3 [(1, 1)]
    Alien, Blade Runner 2 [(0, 1)]

    The same tree at another cut:

    >>> [segment.size for segment in segments.cut(1)]
    [5]
    """
    for name, value in (("min_size", min_size), ("n_segments", 1 if n_segments is None else n_segments)):
        require_whole_number(name, value, at_least=1)
    if small not in ("merge", "drop"):
        raise OptionError(f"small is {small!r}, but must be merge or drop")
    require_ratio(max_ratio)
    rows = _unit_rows(item_embeddings)
    tokens = [str(token) for token in item_tokens]
    if len(tokens) != rows.shape[0] or len(set(tokens)) < len(tokens):
        raise OptionError(f"item_tokens must be {rows.shape[0]} distinct tokens, one for each row of item_embeddings")
    factor_of_item, magnitude = dominant_factors(rows, _MOST_FACTORS)
    factors, segment_of_item, sizes = np.unique(factor_of_item, return_inverse=True, return_counts=True)
    if factors[:1] == -1:  # items without a non-zero
        factors, segment_of_item, sizes = factors[1:], segment_of_item - 1, sizes[1:]
    _require_min_size(min_size, sizes, small)
    if small == "drop":
        new_place = np.where(sizes >= min_size, np.cumsum(sizes >= min_size) - 1, -1)
        segment_of_item = np.where(segment_of_item < 0, -1, new_place[segment_of_item])
        factors, sizes = factors[sizes >= min_size], sizes[sizes >= min_size]
    products = _profile_products(rows, factors, segment_of_item)
    leaf_of_segment = _merge_small(products, sizes, min_size, max_ratio)
    leaves = np.unique(leaf_of_segment)
    leaf_of_segment = np.searchsorted(leaves, leaf_of_segment)
    similarity = _similarity([product[np.ix_(leaves, leaves)] for product in products])
    tree = SegmentTree(
        item_tokens=tokens,
        embedding_size=rows.shape[1],
        min_size=min_size,
        leaf_of_item=np.where(segment_of_item < 0, -1, leaf_of_segment[segment_of_item]),
        factors_of_leaf=[factors[leaf_of_segment == leaf].tolist() for leaf in range(len(leaves))],
        merges=_merge_similar(similarity, np.bincount(leaf_of_segment, weights=sizes), max_ratio),
        prominence=magnitude if popularity is None else _popularity(popularity, len(tokens)),
    )
    return Segments(tree, min(DEFAULT_NUMBER, len(leaves)) if n_segments is None else n_segments)


def require_ratio(max_ratio: float) -> None:
    """Raise OptionError unless segments can be merged within such a bound on the sizes of segments."""
    if isinstance(max_ratio, bool) or not isinstance(max_ratio, (int, float)) or not max_ratio >= 2:
        raise OptionError(f"max_ratio is {max_ratio!r}, but must be a number of at least 2, or inf for no bound")


def dominant_factors(item_embeddings: csr_matrix, at_most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The dominant signed factor of each item.

    Parameters
    ----------
    item_embeddings : scipy.sparse.csr_matrix
        Shape ``(n_items, embedding_size)``.
    at_most : int, optional
        If more factors than that are dominant, only those with the largest sums of squared weights stay, and each item
        has its largest weight of these; an item without any has the one to which most weight leads by the items with
        which it shares factors. By default all stay.

    Returns
    -------
    factors : numpy.ndarray
        int64, shape ``(n_items,)``: twice the latent dimension of the weight of largest magnitude, and one more if it
        is negative; -1 for an item without a non-zero, or without a way to the factors that stay.
    magnitudes : numpy.ndarray
        float64, same shape: the magnitude of that weight; 0 where the item has none.
    """
    factors, magnitudes = _largest_of_rows(_signed_factors(item_embeddings), item_embeddings)
    if at_most is None or len(np.unique(factors[factors >= 0])) <= at_most:
        return factors, magnitudes
    weights = _by_signed_factor(item_embeddings)
    squares = np.bincount(weights.indices, weights=weights.data**2, minlength=weights.shape[1])
    kept = np.sort(np.argsort(-squares, kind="stable")[:at_most])
    weights_of_kept = weights[:, kept]
    places, magnitudes = _largest_of_rows(weights_of_kept.indices, weights_of_kept)
    without = np.flatnonzero(places < 0)
    by_others = csr_matrix(weights[without] @ (weights.T @ weights_of_kept))
    places[without] = _largest_of_rows(by_others.indices, by_others)[0]
    return np.where(places < 0, -1, kept[places]), magnitudes


def _largest_of_rows(columns: np.ndarray, rows: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Of each row what ``columns`` has at the entry of largest magnitude, and that magnitude; -1 and 0 for empty rows.

    Of equal ones that with the smaller column index.
    """
    n_rows = rows.shape[0]
    row_of_entry = np.repeat(np.arange(n_rows), np.diff(rows.indptr))
    magnitude = np.abs(rows.data)
    order = np.lexsort((rows.indices, -magnitude, row_of_entry))
    nonempty = np.flatnonzero(np.diff(rows.indptr))
    first = order[rows.indptr[nonempty]]
    chosen, magnitudes = np.full(n_rows, -1, dtype=np.int64), np.zeros(n_rows)
    chosen[nonempty] = columns[first]
    magnitudes[nonempty] = magnitude[first]
    return chosen, magnitudes


def _by_signed_factor(rows: csr_matrix) -> csr_matrix:
    """The magnitudes of the weights, with a column for each signed factor."""
    shape = (rows.shape[0], 2 * rows.shape[1])
    return csr_matrix((np.abs(rows.data), _signed_factors(rows), rows.indptr), shape=shape)


def _signed_factors(rows: csr_matrix) -> np.ndarray:
    """The signed factor of each non-zero."""
    return 2 * rows.indices.astype(np.int64) + (rows.data < 0)


def _unit_rows(item_embeddings: Any) -> csr_matrix:
    if not issparse(item_embeddings) or item_embeddings.ndim != 2 or item_embeddings.dtype.kind not in "fiu":
        raise OptionError("item_embeddings must be a SciPy sparse matrix of real numbers, items x latent dimensions")
    rows = csr_matrix(item_embeddings, dtype=np.float64, copy=True)
    if not np.isfinite(rows.data).all():
        raise OptionError("item_embeddings hold values that are not finite")
    rows.sum_duplicates()
    rows.eliminate_zeros()
    lengths = np.diff(rows.indptr)
    row_of_entry = np.repeat(np.arange(len(lengths)), lengths)
    rows.data /= np.sqrt(np.bincount(row_of_entry, weights=rows.data**2, minlength=len(lengths)))[row_of_entry]
    return rows


def _require_min_size(min_size: int, sizes: np.ndarray, small: str) -> None:
    most = int(sizes.max(initial=0) if small == "drop" else sizes.sum())
    if most == 0:
        raise OptionError("item_embeddings have no non-zero, so there is nothing to segment by")
    if min_size > most:
        what = "no signed factor is dominant in more than" if small == "drop" else "there are only"
        raise OptionError(f"min_size is {min_size}, but {what} {most} items: give at most {most}")


def _popularity(popularity: Any, n_items: int) -> np.ndarray:
    popularity = np.asarray(popularity, dtype=np.float64)
    if popularity.shape != (n_items,) or not np.isfinite(popularity).all():
        raise OptionError(f"popularity must be {n_items} finite numbers, one for each item")
    return popularity


def _profile_products(rows: csr_matrix, factors: np.ndarray, segment_of_item: np.ndarray) -> list[np.ndarray]:
    """Inner products of the segments' latent directions, and of their members: two matrices of segments x segments.

    Both describe a segment by a sum, over its items and over its factors, so that those of a merged segment are sums of
    rows and columns.
    """
    in_segment = np.flatnonzero(segment_of_item >= 0)
    shape = (len(factors), rows.shape[0])
    items = csr_matrix((np.ones(len(in_segment)), (segment_of_item[in_segment], in_segment)), shape=shape)
    directions = items @ rows
    members = _by_signed_factor(rows)[:, factors]
    return [(directions @ directions.T).toarray(), (members.T @ members).toarray()]


def _similarity(products: list[np.ndarray], of: int | slice = slice(None)) -> np.ndarray:
    """The mean cosine of segments, or of those at ``of``, with all."""
    cosines = []
    for product in products:
        norms = np.sqrt(np.maximum(product.diagonal(), 1e-24))
        cosines.append(product[of] / norms / (norms[of, None] if isinstance(of, slice) else norms[of]))
    of_directions, of_members = cosines
    return (of_directions + of_members) / 2


def _merge_small(products: list[np.ndarray], sizes: np.ndarray, min_size: int, max_ratio: float) -> np.ndarray:
    """Merge in place the smallest segment into the one most similar to it, until all are large enough.

    Returns
    -------
    numpy.ndarray
        int64: the segment into which each went.
    """
    n_items, left = sizes.sum(), len(sizes)
    sizes = sizes.astype(np.float64)
    merged_into = np.arange(len(sizes))
    while sizes.min() < min_size:
        smallest = int(np.argmin(sizes))
        left -= 1
        # In the end each has min_size items at least, and so an even division does.
        most = max_ratio * max(n_items / left, min_size)
        allowed = np.isfinite(sizes) & (sizes + sizes[smallest] <= most)
        similarity = np.where(allowed, _similarity(products, smallest), -np.inf)
        similarity[smallest] = -np.inf
        nearest = int(np.argmax(similarity))
        for product in products:
            product[nearest] += product[smallest]
            product[:, nearest] += product[:, smallest]
        merged_into[merged_into == smallest] = nearest
        sizes[nearest] += sizes[smallest]
        sizes[smallest] = np.inf  # is there no more
    return merged_into


def _merge_similar(similarity: np.ndarray, sizes: np.ndarray, max_ratio: float) -> list[list[int]]:
    """The merges that lead from the leaves to a single segment, the most similar within the bound first: node pairs.

    Nodes are numbered as in scipy.cluster.hierarchy: the leaves, and then what each merge makes. Without a bound these
    are the merges of its Ward linkage, which takes none.
    """
    n_leaves, n_items = len(similarity), sizes.sum()
    # The mean of cosines is a cosine of longer vectors, so these are squared Euclidean distances, as Ward's criterion
    # needs. Those to segments that are there no more are infinite, and their sizes are 0.
    distances = np.maximum(1 - (similarity + similarity.T) / 2, 0)
    np.fill_diagonal(distances, np.inf)
    sizes, leaves, nodes = sizes.copy(), np.ones(n_leaves), np.arange(n_leaves)
    # Of each segment the nearest one that it may be merged with.
    nearest, nearest_distance = np.zeros(n_leaves, dtype=np.int64), np.full(n_leaves, np.inf)
    n_compared, most, merges = n_leaves, 0.0, list[list[int]]()
    for left in range(n_leaves - 1, 0, -1):
        if _STEP * (left + 1) <= n_compared or np.isinf(nearest_distance.min()):
            there = np.flatnonzero(sizes)
            distances = distances[np.ix_(there, there)]
            sizes, leaves, nodes = sizes[there], leaves[there], nodes[there]
            # The two smallest of left + 1 segments have 2 * n_items / (left + 1) items at most, so a pair is allowed.
            n_compared, most = left + 1, max_ratio * n_items / left
            nearest, nearest_distance = _nearest(distances, sizes, most, np.arange(left + 1))
        first = int(nearest_distance.argmin())
        second = int(nearest[first])
        merges.append(sorted((int(nodes[first]), int(nodes[second]))))
        # The Lance-Williams update of Ward's criterion.
        of_both = leaves[first] + leaves[second]
        merged = (leaves[first] + leaves) * distances[first] + (leaves[second] + leaves) * distances[second]
        merged = (merged - leaves * distances[first, second]) / (of_both + leaves)
        merged[[first, second]] = np.inf
        distances[first] = distances[:, first] = merged
        distances[second] = distances[:, second] = np.inf
        sizes[first] += sizes[second]
        leaves[first], nodes[first] = of_both, 2 * n_leaves - 1 - left
        sizes[second], nearest_distance[second] = 0, np.inf
        changed = np.isin(nearest, (first, second)) & (sizes > 0)
        changed[first] = True
        of = np.flatnonzero(changed)
        nearest[of], nearest_distance[of] = _nearest(distances, sizes, most, of)
    return merges


def _nearest(distances: np.ndarray, sizes: np.ndarray, most: float, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of some segments the nearest one that it may be merged with, and its distance; infinite if none may."""
    allowed = np.where(sizes[of, None] + sizes <= most, distances[of], np.inf)
    nearest = allowed.argmin(axis=1)
    return nearest, allowed[np.arange(len(of)), nearest]
