"""Exact retrieval through posting lists: for each latent dimension its items and weights (method page, section 6).

Postings that can add little to any score, or take from it, are not walked: of each list only those of a weight that,
times the user's, is above a threshold. What the others could add together is bounded, and the few items that could
still be among the best are then scored in full (the idea of MaxScore; Turtle and Flood, Query evaluation: strategies
and optimizations, Information Processing & Management 1995).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

# What the postings that are not walked may add to a score, as a share of the highest score that any item of norm 1
# could have. More leaves fewer postings to walk and more items to score in full.
_SHARE_LEFT_OUT = 0.06
# With more candidates than this share of the items, or more postings than that of all, scoring all items is faster.
_MOST_CANDIDATES = 0.1
_MOST_POSTINGS = 0.5
# Bounds of the n-th best score are taken from so many times n items: what lowers a score is in the full one only.
_SCORED_FOR_BOUND = 4
# A posting list stands in parts, for positive weights and then for negative ones, by falling magnitude: those from
# part i on are at most 2 ** (-i / 2), and a little more for rounding.
_PARTS = 16
_HIGHEST_IN_PART = 1.001 * 2.0 ** (-np.arange(_PARTS) / 2)


class PostingLists:
    """The posting lists of all latent dimensions.

    Parameters
    ----------
    item_embeddings : scipy.sparse.csr_matrix
        float32, shape ``(n_items, embedding_size)``, rows of norm 1 at most.
    own_parts : numpy.ndarray or float
        What a history's item has to itself in its score, shape ``(n_items,)``, or one number for all.
    """

    def __init__(self, item_embeddings: csr_matrix, own_parts: np.ndarray | float = 1.0) -> None:
        self._item_embeddings = item_embeddings
        self._own_parts = np.broadcast_to(np.float32(own_parts), item_embeddings.shape[:1])
        self._longest_row = int(np.diff(item_embeddings.indptr).max(initial=0))
        # A column for each part of each list.
        parts = -2 * np.log2(np.maximum(np.abs(item_embeddings.data), 2.0**-_PARTS))
        parts = np.clip(parts, 0, _PARTS - 1).astype(item_embeddings.indices.dtype)
        columns = (2 * item_embeddings.indices + (item_embeddings.data < 0)) * _PARTS + parts
        n_items, embedding_size = item_embeddings.shape
        self._lists = csr_matrix(
            (item_embeddings.data, columns, item_embeddings.indptr), shape=(n_items, embedding_size * 2 * _PARTS)
        ).tocsc()

    def candidates(
        self, user_vector: np.ndarray, n: int, subtracted: np.ndarray, left_out: np.ndarray
    ) -> np.ndarray | None:
        """Items among which are the n best.

        Parameters
        ----------
        user_vector : numpy.ndarray
            float32, shape ``(embedding_size,)``.
        n : int
            Number of items wanted.
        subtracted : numpy.ndarray
            Positions (int64) of the items whose score is the product less their own part: those of the history.
        left_out : numpy.ndarray
            Positions (int64) of the items that are not wanted; at least n others are there.

        Returns
        -------
        numpy.ndarray or None
            Positions (int64), rising. None where they are not few, or the n best have no positive score.
        """
        dimensions, starts, ends, left = self._choose_postings(user_vector)
        if (ends - starts).sum() > _MOST_POSTINGS * len(self._lists.data):
            return None
        scores = self._product(starts, ends, user_vector[dimensions])
        scores[subtracted] -= self._own_parts[subtracted]
        scores[left_out] = -np.inf
        n_wanted = len(scores) - len(left_out)
        some = np.flatnonzero(scores >= lower_bound(scores, min(_SCORED_FOR_BOUND * n, n_wanted)))
        if len(some) > _MOST_CANDIDATES * len(scores):
            return None
        # The n-th best of any items is at most the n-th best of all.
        in_full = self._item_embeddings[some] @ user_vector
        in_history = places_among(some, subtracted)
        in_full[in_history] -= self._own_parts[some[in_history]]
        in_full[scores[some] == -np.inf] = -np.inf
        threshold = np.partition(in_full, len(some) - n)[len(some) - n] - left
        if threshold <= 0:
            return None
        candidates = np.flatnonzero(scores >= threshold)
        return candidates if len(candidates) <= _MOST_CANDIDATES * len(scores) else None

    def _choose_postings(self, user_vector: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Where the postings to walk start and end, by falling dimension, and a bound of what the others can add."""
        magnitudes = np.abs(user_vector)
        dimensions = np.flatnonzero(magnitudes)[::-1]
        magnitudes = magnitudes[dimensions].astype(np.float64)
        # The Cauchy-Schwarz inequality: a row has norm 1 at most, and not more entries than the longest.
        highest_score = np.sqrt(np.sort(np.square(magnitudes))[-self._longest_row :].sum())
        left = _SHARE_LEFT_OUT * highest_score
        # An item stands in as many lists as it has entries, and each posting left out adds at most its share of this.
        # Where the two weights differ in sign it takes from the score, so that such postings are all left out.
        n_parts = np.searchsorted(-_HIGHEST_IN_PART, -left / (self._longest_row * magnitudes))
        first_parts = (2 * dimensions + (user_vector[dimensions] < 0)) * _PARTS
        starts, ends = self._lists.indptr[first_parts], self._lists.indptr[first_parts + n_parts]
        # Sums in float32 are rounded, too.
        return dimensions, starts, ends, left + 1e-4 * highest_score

    def _product(self, starts: np.ndarray, ends: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The sums of some stretches of postings, each times its weight: float32, shape ``(n_items,)``."""
        # A matrix whose columns are these stretches, which stand in falling order, and between two of them a column
        # that ends before it starts, over which SciPy's product passes: so no posting is copied.
        columns = csc_matrix((self._lists.shape[0], max(2 * len(starts) - 1, 0)), dtype=np.float32)
        columns.indptr = np.stack([starts, ends], axis=1).ravel()
        columns.indices, columns.data = self._lists.indices, self._lists.data
        every_second = np.zeros(columns.shape[1], dtype=np.float32)
        every_second[::2] = weights
        return columns @ every_second


def places_among(positions: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where in ``positions``, which rise, those of the ``wanted`` stand that are there."""
    places = np.minimum(np.searchsorted(positions, wanted), len(positions) - 1)
    return places[positions[places] == wanted]


def best(scores: np.ndarray, n: int) -> np.ndarray:
    """The places of the n highest scores, falling; of equal ones the earlier place comes first.

    Parameters
    ----------
    scores : numpy.ndarray
        Floating-point numbers, shape ``(n_scores,)``, without NaN.
    n : int
        At most ``n_scores``.
    """
    places = np.flatnonzero(scores >= lower_bound(scores, n))
    if len(places) > 4 * n:
        # Many are equal: those that come too late among them need no sorting.
        chosen = scores[places]
        nth = np.partition(chosen, len(chosen) - n)[len(chosen) - n]
        equal = places[chosen == nth]
        above = places[chosen > nth]
        places = np.concatenate([above, equal[: n - len(above)]])
    return places[np.argsort(-scores[places], kind="stable")[:n]]


def lower_bound(scores: np.ndarray, n: int) -> float:
    """A bound that at least n scores reach, and usually few more: the n-th largest of the maxima of equal parts."""
    n_parts = 8 * n
    length = len(scores) // n_parts
    if length < 2:
        return np.partition(scores, len(scores) - n)[len(scores) - n]
    maxima = scores[: n_parts * length].reshape(length, n_parts).max(axis=0)
    return np.partition(maxima, n_parts - n)[n_parts - n]
