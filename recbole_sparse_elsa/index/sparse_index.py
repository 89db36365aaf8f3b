"""The retrieval index: recommendations for any user from a history of items, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from scipy.sparse import csr_matrix, issparse

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import index_file
from recbole_sparse_elsa.index.encoding import EncodedRows, encode, entries_of
from recbole_sparse_elsa.index.posting_lists import PostingLists, best, places_among
from recbole_sparse_elsa.options import require_whole_number

# With fewer items, scoring all of them is as fast as walking posting lists.
_MANY_ITEMS = 80_000


@dataclass(frozen=True)
class Recommendations:
    """Items for one user, best first.

    Attributes
    ----------
    items : numpy.ndarray
        Tokens (str), shape ``(n,)``.
    scores : numpy.ndarray
        float32, same shape: the model's scores, or numbers of training interactions where ``by_popularity``.
    unknown_items : list of str
        Items of the history that the index does not have, and that were skipped.
    by_popularity : bool
        Whether these are the most popular items, because no item of the history is known.
    """

    items: np.ndarray
    scores: np.ndarray
    unknown_items: list[str]
    by_popularity: bool = False


@dataclass(frozen=True)
class Explanation:
    """What made the score of an item: its parts by item of the history, and by latent dimension.

    Both kinds of parts add up to the score before the relu, to rounding.

    Attributes
    ----------
    item : str
        The item that is explained.
    score : float
        The model's score.
    history_items : numpy.ndarray
        Tokens (str) of the known items of the history, without the item itself: the largest part first.
    history_parts : numpy.ndarray
        float32, same shape: the cosine similarity of each with the item, times the item's scale.
    dimensions : numpy.ndarray
        int64: the latent dimensions in which both the user and the item are active, the largest magnitude first.
    dimension_parts : numpy.ndarray
        float32, same shape: the user's weight times the item's, times the item's scale.
    """

    item: str
    score: float
    history_items: np.ndarray
    history_parts: np.ndarray
    dimensions: np.ndarray
    dimension_parts: np.ndarray


class SparseIndex:
    """Exact retrieval by sparse item embeddings for users known only by their history (method page, section 6).

    Scores are the model's: ``relu(x Â Âᵀ - x) s`` for a history ``x``, where ``Â`` are the item embeddings of norm 1,
    and ``s`` is the scale of each item, or 1. ``x`` is 1 for the items of the history, or 1 / ``s``, and 0 for others.
    Of items with equal scores, also with the score 0, the one that stands earlier in the index comes first.

    Parameters
    ----------
    item_embeddings : scipy.sparse matrix or array
        Shape ``(n_items, embedding_size)``, any real type, rows of any length. Rows are scaled to L2 norm 1; a row
        without a non-zero stays so, and its item scores 0.
    item_tokens : sequence of str
        The distinct tokens of the items, shape ``(n_items,)``.
    encoding : str
        How values are held in a file: float32, float16, int8 or int4 (4, 2, 1 or half a byte; with int4 their latent
        dimensions, too, take as few bits as can be).
    popularity : array of int, optional
        Number of training interactions of each item, shape ``(n_items,)``, for users without a known item.
    item_scale : array of float, optional
        ``s``, shape ``(n_items,)``: normal numbers of float16 above 0, to which they are rounded.
    scales_input : bool
        Whether ``x`` is 1 / ``s``, as of SparseSLIM.
    made_by : str
        The model and how it was made, in words; empty where that is not known.

    Attributes
    ----------
    item_tokens : numpy.ndarray
        str objects, shape ``(n_items,)``.
    popularity : numpy.ndarray or None
        int64, shape ``(n_items,)``.
    item_scale : numpy.ndarray or None
        float16, shape ``(n_items,)``.
    scales_input : bool
        As above; False if there are no scales.
    made_by : str
        As above.
    encoding : str
        float32, float16, int8 or int4.

    Raises
    ------
    OptionError
        An argument is not as described.

    Examples
    --------
    Four items with two latent dimensions:

    >>> from scipy.sparse import csr_array
    >>> from recbole_sparse_elsa import SparseIndex
    >>> item_embeddings = csr_array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    >>> index = SparseIndex(item_embeddings, ["Alien", "Blade Runner", "Casablanca", "Dr. Zhivago"])

    The best items for a user who is known by one item, or by an item and one that the index does not have:

    >>> found = index.recommend(["Alien"], 2)
    >>> print(*found.items, sep=", ")
    Blade Runner, Casablanca
    >>> print(*(f"{score:.1f}" for score in found.scores))
    0.8 0.6
    >>> index.recommend(["Alien", "Eraserhead"], 1).unknown_items
    ['Eraserhead']

    Why Casablanca is recommended for two items, and what is most similar to it:

    >>> why = index.explain(["Alien", "Blade Runner"], "Casablanca")
    >>> [(item, round(float(part), 2)) for item, part in zip(why.history_items, why.history_parts)]
    [('Blade Runner', 0.96), ('Alien', 0.6)]
    >>> index.similar("Casablanca", 1).items.tolist()
    ['Blade Runner']
    """

    def __init__(
        self,
        item_embeddings: Any,
        item_tokens: Iterable[str],
        *,
        encoding: str = "float32",
        popularity: Any = None,
        item_scale: Any = None,
        scales_input: bool = False,
        made_by: str = "",
    ) -> None:
        if not issparse(item_embeddings) or item_embeddings.ndim != 2:
            raise OptionError("item_embeddings must be a SciPy sparse matrix of items x latent dimensions")
        if item_embeddings.dtype.kind not in "fiu":
            raise OptionError(f"item_embeddings are of type {item_embeddings.dtype}, but must be real numbers")
        encoded = encode(item_embeddings, encoding)
        self._set(encoded, _tokens(item_tokens), popularity, item_scale, scales_input, made_by)

    @classmethod
    def _of(
        cls,
        encoded: EncodedRows,
        item_tokens: np.ndarray,
        popularity: np.ndarray | None,
        item_scale: np.ndarray | None,
        scales_input: bool,
        made_by: str,
    ) -> SparseIndex:
        index = cls.__new__(cls)
        index._set(encoded, item_tokens, popularity, item_scale, scales_input, made_by)
        return index

    def _set(
        self,
        encoded: EncodedRows,
        item_tokens: np.ndarray,
        popularity: Any,
        item_scale: Any,
        scales_input: bool,
        made_by: str,
    ) -> None:
        self._encoded = encoded
        self.item_tokens = item_tokens
        self.encoding = encoded.encoding
        self._position_of = {token: position for position, token in enumerate(item_tokens)}
        n_items = len(encoded.row_pointers) - 1
        if n_items == 0:
            raise OptionError("item_embeddings have no row, but an index needs at least one item")
        if len(item_tokens) != n_items:
            raise OptionError(f"there are {len(item_tokens)} item_tokens for {n_items} rows of item_embeddings")
        if len(self._position_of) < n_items:
            raise OptionError(f"item_tokens must be distinct, but {_first_repeated(item_tokens)!r} occurs twice")
        self.popularity = None if popularity is None else _counts(popularity, n_items)
        self.item_scale = None if item_scale is None else _half(item_scale, n_items)
        self.scales_input = bool(scales_input) and item_scale is not None
        self.made_by = made_by

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_tokens)

    @property
    def embedding_size(self) -> int:
        """Number of latent dimensions."""
        return self._encoded.embedding_size

    @property
    def n_nonzeros(self) -> int:
        """Number of non-zeros of all item embeddings."""
        return len(self._encoded.values)

    @cached_property
    def item_embeddings(self) -> csr_matrix:
        """The item embeddings as they are decoded: float32, shape ``(n_items, embedding_size)``, rows of norm 1."""
        return self._encoded.decode()

    @cached_property
    def _scales(self) -> Any:
        # One for all where there are none: a product with it costs nothing.
        return np.float32(1) if self.item_scale is None else self.item_scale.astype(np.float32)

    def _scales_of(self, positions: Any) -> Any:
        return self._scales if self.item_scale is None else self._scales[positions]

    def _input_of(self, known: np.ndarray) -> Any:
        """What of each item of a history is in the input."""
        return 1 / self._scales_of(known) if self.scales_input else np.float32(1)

    @cached_property
    def _own_parts(self) -> np.ndarray:
        """What an item of a history has to itself in its score: its input times its scale."""
        return np.broadcast_to(np.float32(1) if self.scales_input else self._scales, self.n_items)

    def scored_rows(self, positions: Any = slice(None)) -> csr_matrix:
        """The item embeddings, or those at some positions, times the scales of the items.

        Their products with a user's vector are the scores of the items that the user does not have, before the relu.
        """
        rows = self.item_embeddings[positions]
        if self.item_scale is not None:
            rows.data = rows.data * np.repeat(self._scales[positions], np.diff(rows.indptr))
        return rows

    @cached_property
    def _posting_lists(self) -> PostingLists:
        # They need weights of 1 at most. A power of two divides all scores without rounding.
        largest = 2.0 ** np.ceil(np.log2(np.max(self._scales)))
        rows = self.scored_rows()
        rows.data = rows.data / np.float32(largest)
        return PostingLists(rows, self._own_parts / np.float32(largest))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as one file, whole or not at all; see `recbole_sparse_elsa.index.index_file`.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        index_file.write(
            path, self._encoded, self.item_tokens, self.popularity, self.item_scale, self.scales_input, self.made_by
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SparseIndex:
        """Read an index that `save` wrote. No pickle is involved, so that the file need not be trusted.

        Raises
        ------
        IndexFileError
            The file is missing, damaged, or of another version of the format.
        """
        return index_file.read(path, cls._of)

    def __contains__(self, item: object) -> bool:
        """Whether the index has an item (its token)."""
        return item in self._position_of

    def position(self, item: str) -> int:
        """Where an item stands: its row of ``item_embeddings``.

        Raises
        ------
        OptionError
            The index does not have it.
        """
        if item not in self._position_of:
            raise OptionError(f"the index does not have item {item!r}")
        return self._position_of[item]

    def user_vector(self, history: Iterable[str]) -> np.ndarray:
        """The sum of the embeddings of the known items of a history, each times the item's input.

        It is float32, of shape ``(embedding_size,)``.

        Parameters
        ----------
        history : sequence of str
            Item tokens. Repeated ones count once, and those that the index does not have not at all.
        """
        return self._user_vector(self._known(history)[0])

    def scores(self, history: Iterable[str]) -> np.ndarray:
        """The model's scores of all items, ``relu(x Â Âᵀ - x) s``: float32, shape ``(n_items,)``.

        Parameters
        ----------
        history : sequence of str
            As of `user_vector`.
        """
        return self._scores(self._known(history)[0])

    # A str is a sequence of str, too; what it gets is an error.
    @overload
    def recommend(  # type: ignore[overload-overlap]
        self,
        history: Sequence[str],
        n: int,
        *,
        mask_history: bool = ...,
        allow: Iterable[str] | None = ...,
        block: Iterable[str] | None = ...,
        if_unknown: str = ...,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        history: Sequence[Sequence[str]],
        n: int,
        *,
        mask_history: bool = ...,
        allow: Iterable[str] | None = ...,
        block: Iterable[str] | None = ...,
        if_unknown: str = ...,
    ) -> list[Recommendations]: ...

    def recommend(
        self,
        history: Sequence[str] | Sequence[Sequence[str]],
        n: int,
        *,
        mask_history: bool = True,
        allow: Iterable[str] | None = None,
        block: Iterable[str] | None = None,
        if_unknown: str = "error",
    ) -> Recommendations | list[Recommendations]:
        """The n best items for one user or for each of several.

        Parameters
        ----------
        history : sequence of str, or sequence of sequences of str
            The item tokens of a user, or of each user of a batch.
        n : int
            Number of items, at least 1.
        mask_history : bool
            Leave out the items of the history.
        allow : iterable of str, optional
            Only these items are recommended; tokens that the index does not have are passed over.
        block : iterable of str, optional
            These items are not recommended; tokens that the index does not have are passed over.
        if_unknown : str
            What a user without any known item gets: "error", or "popular" for the most popular items.

        Returns
        -------
        Recommendations or list of Recommendations
            A list for a batch.

        Raises
        ------
        OptionError
            An argument is not as described, fewer than n items are left to recommend, or a user without any known item
            is to be an error.
        """
        require_whole_number("n", n.item() if isinstance(n, np.integer) else n, at_least=1)
        if if_unknown not in ("error", "popular"):
            raise OptionError(f"if_unknown is {if_unknown!r}, but must be error or popular")
        if if_unknown == "popular" and self.popularity is None:
            raise OptionError("if_unknown is popular, but this index was made without the popularity of its items")
        histories = _listed("history", history)
        left_out = self._left_out(allow, block)
        if histories and not isinstance(histories[0], str):
            return [
                self._recommend(of_user, n, mask_history, left_out, if_unknown, f"user {place} of the batch")
                for place, of_user in enumerate(histories)
            ]
        return self._recommend(histories, n, mask_history, left_out, if_unknown, "this user")

    def similar(self, item: str, n: int) -> Recommendations:
        """The n items whose embeddings are most similar to an item's, with their cosines (0 where negative).

        Cosines are of the embeddings alone: scales of items play no part.

        Raises
        ------
        OptionError
            The index does not have the item, or has fewer than n others.
        """
        position = np.array([self.position(item)])
        require_whole_number("n", n.item() if isinstance(n, np.integer) else n, at_least=1)
        if n > self.n_items - 1:
            raise OptionError(f"n is {n}, but only {self.n_items - 1} items are similar to {item!r}")
        cosines = np.maximum((self.item_embeddings @ self.item_embeddings[position].T).toarray().ravel(), 0)
        cosines[position] = -1
        places = best(cosines, n)
        return Recommendations(self.item_tokens[places], cosines[places], [])

    def explain(self, history: Iterable[str], item: str) -> Explanation:
        """Which items of a history, and which latent dimensions, made the score of an item.

        Parameters
        ----------
        history : sequence of str
            As of `user_vector`.
        item : str
            Any item of the index; if the history has it, that does not count, as in the model.

        Raises
        ------
        OptionError
            The index does not have the item, or none of the history's.
        """
        position = self.position(item)
        known, _ = self._known(history)
        if len(known) == 0:
            raise OptionError("explain: the index has no item of this history")
        known = known[known != position]
        columns, weights = self._row(position)
        weights = weights * self._scales_of(position)
        item_vector = np.zeros(self.embedding_size, dtype=np.float32)
        item_vector[columns] = weights
        history_parts = self._encoded.decode(known) @ item_vector * self._input_of(known)
        order = np.argsort(-history_parts, kind="stable")
        dimension_parts = self._user_vector(known)[columns] * weights
        active = np.argsort(-np.abs(dimension_parts), kind="stable")
        active = active[dimension_parts[active] != 0]
        return Explanation(
            item=item,
            score=float(max(dimension_parts.sum(), 0)),
            history_items=self.item_tokens[known[order]],
            history_parts=history_parts[order],
            dimensions=columns[active].astype(np.int64),
            dimension_parts=dimension_parts[active],
        )

    def _known(self, history: Any) -> tuple[np.ndarray, list[str]]:
        """The positions of a history's known items, each once, and the tokens of the unknown ones."""
        tokens, unknown_items = _listed("history", history), list[str]()
        try:
            # Most histories are known whole: one look-up for each item.
            positions = dict.fromkeys(map(self._position_of.__getitem__, tokens))
        except KeyError:
            unknown_items = [token for token in dict.fromkeys(tokens) if token not in self._position_of]
            if not all(isinstance(token, str) for token in unknown_items):
                raise OptionError("history must hold item tokens, which are str") from None
            positions = dict.fromkeys(self._positions_in("history", tokens))
        return np.fromiter(positions, dtype=np.int64, count=len(positions)), unknown_items

    def _row(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        values, columns, _ = self._encoded.decode_entries(np.array([position]))
        return columns, values

    def _user_vector(self, known: np.ndarray) -> np.ndarray:
        rows = self.item_embeddings
        entries, pointers = entries_of(known, rows.indptr)
        columns, values = rows.indices[entries], rows.data[entries]
        if self.scales_input:
            values = values * np.repeat(self._input_of(known), np.diff(pointers))
        return np.bincount(columns, weights=values, minlength=self.embedding_size).astype(np.float32)

    def _scores(self, known: np.ndarray) -> np.ndarray:
        scores = self._scores_before_relu(self._user_vector(known), known)
        return np.maximum(scores, 0, out=scores)

    def _scores_before_relu(
        self, user_vector: np.ndarray, in_history: np.ndarray, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores of all items, or of those at some positions; of these, the ones at some places are in the history."""
        rows, scales, own_parts = self.item_embeddings, self._scales, self._own_parts
        if positions is not None:
            rows, scales, own_parts = rows[positions], self._scales_of(positions), own_parts[positions]
        scores = rows @ user_vector
        scores *= scales
        scores[in_history] -= own_parts[in_history]
        return scores

    def _best(self, known: np.ndarray, left_out: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and scores of the n best items by the model; there are as many that are not left out."""
        user_vector = self._user_vector(known)
        if self.n_items >= _MANY_ITEMS:
            candidates = self._posting_lists.candidates(user_vector, n, known, left_out)
            if candidates is not None:
                in_history = places_among(candidates, known)
                scores = self._scores_before_relu(user_vector, in_history, candidates)
                places = best(scores, n)
                return candidates[places], scores[places]
        scores = self._scores_before_relu(user_vector, known)
        scores[left_out] = -np.inf
        places = best(scores, n)
        if scores[places[-1]] <= 0:
            # Scores below 0 are 0: their order is that of the items.
            np.maximum(scores, 0, out=scores)
            scores[left_out] = -1
            places = best(scores, n)
        return places, scores[places]

    def _most_popular(self, left_out: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and numbers of training interactions of the n most popular items."""
        assert self.popularity is not None  # recommend has seen to it
        counts = self.popularity.astype(np.float64)
        counts[left_out] = -1
        places = best(counts, n)
        return places, counts[places].astype(np.float32)

    def _left_out(self, allow: Iterable[str] | None, block: Iterable[str] | None) -> np.ndarray:
        """Positions (int64) of the items that no user is to get."""
        if allow is None and block is None:
            return np.empty(0, dtype=np.int64)
        left_out = np.zeros(self.n_items, dtype=bool)
        if allow is not None:
            left_out[:] = True
            left_out[self._positions_in("allow", allow)] = False
        if block is not None:
            left_out[self._positions_in("block", block)] = True
        return np.flatnonzero(left_out)

    def _positions_in(self, name: str, tokens: Iterable[str]) -> list[int]:
        return [self._position_of[token] for token in _listed(name, tokens) if token in self._position_of]

    def _recommend(
        self, history: Any, n: int, mask_history: bool, left_out: np.ndarray, if_unknown: str, who: str
    ) -> Recommendations:
        known, unknown_items = self._known(history)
        by_popularity = len(known) == 0
        if by_popularity and if_unknown == "error":
            raise OptionError(
                f"the index has no item of the history of {who}; if_unknown=popular gives the most popular items"
            )
        if mask_history:
            left_out = np.union1d(left_out, known) if len(left_out) else known
        n_left = self.n_items - len(left_out)
        if n > n_left:
            raise OptionError(f"n is {n}, but only {n_left} items are left to recommend to {who}")
        places, scores = self._most_popular(left_out, n) if by_popularity else self._best(known, left_out, n)
        return Recommendations(self.item_tokens[places], scores, unknown_items, by_popularity)


def _listed(name: str, tokens: Any) -> list[Any]:
    """The tokens as a list; one str, whose letters would be taken for tokens, is refused."""
    if isinstance(tokens, str):
        raise OptionError(f"{name} is the text {tokens!r}, but must be a list of item tokens")
    try:
        return list(tokens)
    except TypeError:
        raise OptionError(f"{name} is {tokens!r}, but must be a list of item tokens") from None


def _tokens(item_tokens: Iterable[str]) -> np.ndarray:
    tokens = _listed("item_tokens", item_tokens)
    if not all(isinstance(token, str) for token in tokens):
        raise OptionError("item_tokens must be str")
    listed = np.empty(len(tokens), dtype=object)
    listed[:] = [str(token) for token in tokens]
    return listed


def _first_repeated(tokens: Iterable[str]) -> str:
    first: dict[str, int] = {}
    return next(token for place, token in enumerate(tokens) if first.setdefault(token, place) < place)


def _counts(popularity: Any, n_items: int) -> np.ndarray:
    counts = np.asarray(popularity)
    # Whole numbers as pandas gives them where some were missing before.
    if counts.dtype.kind == "f" and ((counts == np.floor(counts)) & (np.abs(counts) < 2.0**63)).all():
        counts = counts.astype(np.int64)
    most = np.iinfo(np.int64).max
    if counts.shape != (n_items,) or counts.dtype.kind not in "iu" or ((counts < 0) | (counts > most)).any():
        raise OptionError(f"popularity must be {n_items} whole numbers of at least 0, one for each item")
    return counts.astype(np.int64)


def _half(item_scale: Any, n_items: int) -> np.ndarray:
    scales = np.asarray(item_scale)
    if scales.shape == (n_items,) and scales.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            scales = scales.astype(np.float16)
        if np.isfinite(scales).all() and (scales >= np.finfo(np.float16).tiny).all():
            return scales
    raise OptionError(f"item_scale must be {n_items} normal numbers of float16 above 0, one for each item")
