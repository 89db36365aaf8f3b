"""Exact retrieval through posting lists: for each latent dimension its items and their weights (method page, section 6).

The long posting lists in which a user has little weight are not walked: the Cauchy-Schwarz inequality bounds what they
can add to the score of an item, and the few items that could still be among the best are then scored in full (the idea
of MaxScore; Turtle, Flood, Query evaluation: strategies and optimizations, IP&M 1995).
"""

import numpy as np
from scipy.sparse import csc_matrix

# What the posting lists that are not walked may add to a score, as a share of the highest score that any item of norm 1
# could have. More leaves fewer postings and more items to score in full.
_SHARE_LEFT_OUT = 0.08
# With more candidates than this share of the items, scoring all of them is faster.
_MOST_CANDIDATES = 0.1


class PostingLists:
    """The posting lists of all latent dimensions.

    Parameters
    ----------
    item_embeddings : scipy.sparse.csr_matrix
        float32, shape ``(n_items, embedding_size)``, rows of norm 1 or 0.
    """

    def __init__(self, item_embeddings):
        self._lists = item_embeddings.tocsc()
        self._item_embeddings = item_embeddings
        self._longest_row = int(np.diff(item_embeddings.indptr).max(initial=0))

    def candidates(self, user_vector, n, subtracted, left_out):
        """Items among which are the n best.

        Parameters
        ----------
        user_vector : numpy.ndarray
            float32, shape ``(embedding_size,)``.
        n : int
            Number of items wanted.
        subtracted : numpy.ndarray
            Positions (int64) of the items whose score is the product less 1: those of the history.
        left_out : numpy.ndarray
            Positions (int64) of the items that are not wanted.

        Returns
        -------
        numpy.ndarray or None
            Positions (int64), rising. None where they are not few, or the n best have no positive score.
        """
        walked, left = self._divide(np.abs(user_vector))
        scores = self._product(walked, user_vector)
        scores[subtracted] -= 1
        scores[left_out] = -np.inf
        some = np.flatnonzero(scores >= lower_bound(scores, n))
        if len(some) > _MOST_CANDIDATES * len(scores):
            return None
        # The n-th best of any items is at most the n-th best of all.
        in_full = self._item_embeddings[some] @ user_vector
        in_full[places_among(some, subtracted)] -= 1
        in_full[scores[some] == -np.inf] = -np.inf
        threshold = np.partition(in_full, len(some) - n)[len(some) - n] - left
        if threshold <= 0:
            return None
        candidates = np.flatnonzero(scores >= threshold)
        return candidates if len(candidates) <= _MOST_CANDIDATES * len(scores) else None

    def _divide(self, magnitudes):
        """The dimensions whose lists are walked (falling), and a bound of what the others can add to a score."""
        active = np.flatnonzero(magnitudes)
        order = active[np.argsort(-magnitudes[active])]
        squares = np.square(magnitudes[order], dtype=np.float64)
        # The sum of as many squares as an item has non-zeros, from each place on.
        sums = np.concatenate([[0], np.cumsum(squares)])
        ends = np.minimum(np.arange(len(squares)) + self._longest_row, len(squares))
        bounds = np.sqrt(np.maximum(sums[ends] - sums[:-1], 0))
        bounds = np.append(bounds, 0)
        n_walked = int(np.argmax(bounds <= _SHARE_LEFT_OUT * bounds[0]))
        # Partial scores and the sums of squares are rounded, too.
        return np.sort(order[:n_walked])[::-1], bounds[n_walked] + 1e-4 * bounds[0]

    def _product(self, dimensions, user_vector):
        """Products with the posting lists of some dimensions, which fall: float32, shape ``(n_items,)``."""
        starts, ends = self._lists.indptr[dimensions], self._lists.indptr[dimensions + 1]
        # A matrix whose columns are these lists and, between two of them, a column that ends before it starts, over
        # which SciPy's product passes: so no posting is copied.
        columns = csc_matrix((self._lists.shape[0], max(2 * len(dimensions) - 1, 0)), dtype=np.float32)
        columns.indptr = np.stack([starts, ends], axis=1).ravel()
        columns.indices, columns.data = self._lists.indices, self._lists.data
        weights = np.zeros(columns.shape[1], dtype=np.float32)
        weights[::2] = user_vector[dimensions]
        return columns @ weights


def places_among(positions, wanted) -> np.ndarray:
    """Where in ``positions``, which rise, those of the ``wanted`` stand that are there."""
    places = np.minimum(np.searchsorted(positions, wanted), len(positions) - 1)
    return places[positions[places] == wanted]


def best(scores, n) -> np.ndarray:
    """The places of the n highest scores, falling; of equal ones the earlier place comes first.

    Parameters
    ----------
    scores : numpy.ndarray
        Floating-point numbers, shape ``(n_scores,)``, without NaN.
    n : int
        At most ``n_scores``.
    """
    places = np.flatnonzero(scores >= lower_bound(scores, n))
    if len(places) > n:
        chosen = scores[places]
        nth = np.partition(chosen, len(chosen) - n)[len(chosen) - n]
        equal = places[chosen == nth]
        above = places[chosen > nth]
        places = np.concatenate([above, equal[: n - len(above)]])
    return places[np.argsort(-scores[places], kind="stable")]


def lower_bound(scores, n) -> float:
    """A bound that at least n scores reach, and usually few more: the n-th largest of the maxima of equal parts."""
    n_parts = 8 * n
    length = len(scores) // n_parts
    if length < 2:
        return np.partition(scores, len(scores) - n)[len(scores) - n]
    maxima = scores[: n_parts * length].reshape(length, n_parts).max(axis=0)
    return np.partition(maxima, n_parts - n)[n_parts - n]
