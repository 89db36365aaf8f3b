"""The inverted index: for each latent dimension its items and their weights (method page, section 6)."""

import numpy as np


class PostingLists:
    """The posting lists of all latent dimensions, and the products that walk them.

    Parameters
    ----------
    item_embeddings : scipy.sparse.csr_matrix
        float32, shape ``(n_items, embedding_size)``.
    """

    def __init__(self, item_embeddings):
        self.matrix = item_embeddings.tocsc()

    def scores(self, user_vector) -> np.ndarray:
        """The products of all item embeddings with a user vector: float32, shape ``(n_items,)``."""
        return self.matrix @ user_vector


def best(scores, n) -> np.ndarray:
    """The places of the n highest scores, falling; of equal ones the earlier place comes first.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape ``(n_scores,)``, without NaN.
    n : int
        At most ``n_scores``.
    """
    if n < len(scores):
        threshold = np.partition(scores, len(scores) - n)[len(scores) - n]
        above, equal = np.flatnonzero(scores > threshold), np.flatnonzero(scores == threshold)
        places = np.concatenate([above, equal[: n - len(above)]])
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")]
