"""What the explorer's page asks, and the answers as plain data that JSON can hold."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import Segments, homepage

_Value = TypeVar("_Value")

_COMPLETIONS = 12
_EXAMPLE_USERS = 20
_RECOMMENDATIONS = 20
_HOMEPAGE_ROWS, _ITEMS_PER_ROW = 6, 12
# Items that name a latent dimension, and those of each sign that are listed below the name.
_ITEMS_IN_NAME, _TOP_ITEMS = 2, 4
# Parts of an explanation that are listed; the others are summed up.
_PARTS = 5
_DIMENSIONS_OF_USER, _SEGMENTS_OF_USER = 24, 6


class Explorer:
    """Answers questions about a model, its users and its items.

    Parameters
    ----------
    index : SparseIndex
        The item embeddings, and what is recommended by them.
    segments : Segments
        Segments of the same items; they also tell what items are called.
    histories : mapping of str to sequence of str
        The users of the data set, each with the tokens of the items.
    dataset : str
        The name of the data set.
    accuracy : list of dict
        What `accuracy_by_size` reads from a leaderboard; empty if there is none.
    figures : mapping of str to float, optional
        What is known of the model's accuracy, such as its validation score, by the names that the page shows.
    example_users : sequence of str, optional
        Users to begin with; by default at most 20, spread evenly over the data set.
    items_per_page : int
        Items of a segment or a posting list that one answer has at most.

    Raises
    ------
    OptionError
        The segments are of other items, or there is no user.
    """

    def __init__(
        self,
        index: SparseIndex,
        segments: Segments,
        histories: Mapping[str, Sequence[str] | np.ndarray],
        dataset: str,
        accuracy: Sequence[dict[str, Any]] = (),
        figures: Mapping[str, float] | None = None,
        example_users: Sequence[str] | None = None,
        items_per_page: int = 100,
    ) -> None:
        if segments.tree.item_tokens != list(index.item_tokens):
            raise OptionError("the segments were made from other items than the index has; make them from this index")
        if not histories:
            raise OptionError(f"data set {dataset} has no user")
        self.index, self.segments, self.histories, self.dataset = index, segments, histories, dataset
        self.accuracy, self.items_per_page = list(accuracy), items_per_page
        self.figures = dict(figures or {})
        self.example_users = spread(list(histories), _EXAMPLE_USERS) if example_users is None else list(example_users)
        by_dimension = index.item_embeddings.tocsc()
        by_dimension.sort_indices()
        self._by_dimension = by_dimension
        self._segment_of_factor = {
            factor: place for place, segment in enumerate(segments) for factor in segment.factors
        }

    def answer(self, question: str, parameters: Mapping[str, list[str]]) -> dict[str, Any]:
        """The answer to a question by name, as the page asks it.

        Parameters
        ----------
        question : str
            One of ``QUESTIONS``.
        parameters : dict of str to list of str
            As from urllib.parse.parse_qs.

        Returns
        -------
        dict

        Raises
        ------
        OptionError
            The question is unknown, or a parameter is missing, unknown or not allowed.
        """
        if question not in QUESTIONS:
            raise OptionError(f"{question!r} is no question; ask one of {', '.join(QUESTIONS)}")
        convert = QUESTIONS[question]
        unknown = [name for name in parameters if name not in convert]
        if unknown:
            raise OptionError(f"{question} has no parameter {unknown[0]!r}")
        return getattr(self, question)(**{name: convert[name](name, values) for name, values in parameters.items()})

    def overview(self) -> dict[str, Any]:
        """The data set, the model, all segments, the size of each posting list, and accuracy by size."""
        return {
            "dataset": self.dataset,
            "n_users": len(self.histories),
            "n_items": self.index.n_items,
            "embedding_size": self.index.embedding_size,
            "n_nonzeros": self.index.n_nonzeros,
            "bytes_per_item": self._bytes_per_item,
            "figures": self.figures,
            "users": self.example_users,
            "segments": [
                {"name": segment.name, "size": segment.size, "examples": segment.item_labels[:3]}
                for segment in self.segments
            ],
            "n_left_over": len(self.segments.left_over),
            "dimensions": np.diff(self._by_dimension.indptr).tolist(),
            "accuracy": self.accuracy,
        }

    def users(self, text: str = "") -> dict[str, Any]:
        """At most 12 users whose tokens have a text in them; those that begin with it come first."""
        if not text:
            return {"users": self.example_users[:_COMPLETIONS]}
        places = _completions(text, self._searched_users)
        return {"users": [self._user_tokens[place] for place in places]}

    def items(self, text: str = "") -> dict[str, Any]:
        """At most 12 items whose labels or tokens have a text in them; those that begin with it come first.

        Within both kinds they go by their popularity.
        """
        places = [self._by_popularity[place] for place in _completions(text, self._searched_items)]
        return {"items": [self._item(place) for place in places]}

    def user(self, user: str = "") -> dict[str, Any]:
        """What `history` tells, for a user of the data set.

        Raises
        ------
        OptionError
            The data set does not have the user.
        """
        if user not in self.histories:
            raise OptionError(f"data set {self.dataset} has no user {user!r}")
        return self.history(self.histories[user])

    def history(self, item: Sequence[str] | np.ndarray = ()) -> dict[str, Any]:
        """The recommendations for a history of items and their reasons, the homepage, and the active dimensions.

        Parameters
        ----------
        item : sequence of str
            Item tokens.

        Raises
        ------
        OptionError
            None of the items is known.
        """
        tokens = list(dict.fromkeys(item))
        known = [token for token in tokens if token in self.index]
        if not known:
            raise OptionError("no item of this history is in the catalogue; give at least one that is")
        user_vector = self.index.user_vector(known)
        page = homepage(self.index, self.segments, known, _HOMEPAGE_ROWS, _ITEMS_PER_ROW)
        return {
            "history": [self._item(self.index.position(token)) for token in known],
            "unknown": [token for token in tokens if token not in self.index],
            "recommendations": self._recommendations(known),
            "homepage": [
                {
                    "segment": row.segment,
                    "name": row.name,
                    "affinity": _rounded(row.affinity),
                    "items": [
                        {"token": token, "label": label, "detail": detail, "score": _rounded(score)}
                        for token, label, detail, score in zip(row.items, row.labels, row.details, row.scores)
                    ],
                }
                for row in page.rows
            ],
            "dimensions": self._active_dimensions(user_vector),
        }

    def segment(self, segment: int = -1, start: int = 0) -> dict[str, Any]:
        """A segment by its place, and a page of its items, the most prominent first.

        Raises
        ------
        OptionError
            There is no such segment.
        """
        if not 0 <= segment < len(self.segments):
            raise OptionError(f"segment is {segment}, but there are the segments 0 to {len(self.segments) - 1}")
        found = self.segments[segment]
        return {
            "name": found.name,
            "size": found.size,
            "factors": [{"dimension": dimension, "sign": sign} for dimension, sign in found.factors],
            "items": [self._item(place) for place in found.items[start : start + self.items_per_page].tolist()],
        }

    def dimension(self, dimension: int = -1, start: int = 0) -> dict[str, Any]:
        """A page of the posting list of a latent dimension, the weight of largest magnitude first.

        Raises
        ------
        OptionError
            There is no such dimension.
        """
        if not 0 <= dimension < self.index.embedding_size:
            raise OptionError(
                f"dimension is {dimension}, but there are the dimensions 0 to {self.index.embedding_size - 1}"
            )
        entries = slice(*self._by_dimension.indptr[dimension : dimension + 2])
        places, weights = self._by_dimension.indices[entries], self._by_dimension.data[entries]
        page = np.argsort(-np.abs(weights), kind="stable")[start : start + self.items_per_page]
        return {
            "name": self._dimension_names[dimension],
            "size": len(weights),
            "n_positive": int((weights > 0).sum()),
            "segments": [self._segment_of_factor.get((dimension, sign)) for sign in (1, -1)],
            "items": [{**self._item(places[entry]), "weight": _rounded(weights[entry])} for entry in page],
        }

    def dimensions(self) -> dict[str, Any]:
        """All latent dimensions that have items: their names, their sizes, and their top items of either sign."""
        return {
            "dimensions": [
                {
                    "dimension": dimension,
                    "name": self._dimension_names[dimension],
                    "size": len(positive) + len(negative),
                    "n_positive": len(positive),
                    "positive": self._labels(positive[:_TOP_ITEMS]),
                    "negative": self._labels(negative[:_TOP_ITEMS]),
                }
                for dimension, (positive, negative) in enumerate(self._sides)
                if len(positive) + len(negative)
            ]
        }

    @cached_property
    def _sides(self):
        """The places of the items of each latent dimension, of positive and of negative weight, the largest first."""
        sides = []
        for start, end in pairwise(self._by_dimension.indptr):
            places, weights = self._by_dimension.indices[start:end], self._by_dimension.data[start:end]
            order = np.argsort(-np.abs(weights), kind="stable")
            places, weights = places[order], weights[order]
            sides.append((places[weights > 0], places[weights < 0]))
        return sides

    @cached_property
    def _dimension_names(self):
        """What each latent dimension is called: its top items of positive weight, an arrow, and those of negative."""
        names = []
        for sides in self._sides:
            n_items = _ITEMS_IN_NAME // 2 if all(map(len, sides)) else _ITEMS_IN_NAME
            positive, negative = (" · ".join(self._labels(places[:n_items])) for places in sides)
            names.append(f"{positive} ↔ {negative}".strip() if negative else positive)
        return names

    def _labels(self, places):
        return [self.segments.tree.label(place) for place in places]

    @cached_property
    def _bytes_per_item(self):
        from recbole_sparse_elsa.core import bytes_per_item  # loads torch, which nothing else here needs

        nonzeros: Any = np.diff(self.index.item_embeddings.indptr)
        has_scale = self.index.item_scale is not None
        return bytes_per_item(nonzeros, self.index.embedding_size, self.index.encoding, has_scale)

    @cached_property
    def _user_tokens(self):
        return list(self.histories)

    @cached_property
    def _searched_users(self):
        return [(user.casefold(),) for user in self._user_tokens]

    @cached_property
    def _by_popularity(self):
        popularity = self.index.popularity
        places = np.arange(self.index.n_items) if popularity is None else np.argsort(-popularity, kind="stable")
        return places.tolist()

    @cached_property
    def _searched_items(self):
        return [
            (self.segments.tree.label(place).casefold(), self.index.item_tokens[place].casefold())
            for place in self._by_popularity
        ]

    @cached_property
    def _directions(self):
        """The mean direction of each segment's items: CSR, segments x latent dimensions, rows of norm 1."""
        rows = np.repeat(np.arange(len(self.segments)), [segment.size for segment in self.segments])
        columns = np.concatenate([segment.items for segment in self.segments])
        shape = (len(self.segments), self.index.n_items)
        sums = csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape) @ self.index.item_embeddings
        norms = np.sqrt(sums.multiply(sums).sum(axis=1)).A1
        return sums.multiply(1 / np.maximum(norms, 1e-12)[:, None]).tocsr()

    def _item(self, place):
        return {"token": self.index.item_tokens[place], "label": self.segments.tree.label(place)}

    def _recommendations(self, history):
        n = min(_RECOMMENDATIONS, self.index.n_items - len(history))
        if n == 0:
            return []
        found = self.index.recommend(history, n)
        return [self._recommendation(history, item) for item, score in zip(found.items, found.scores) if score > 0]

    def _recommendation(self, history, item):
        explanation = self.index.explain(history, item)
        place = self.index.position(item)
        segment = int(self.segments.segment_of_item[place])
        by_item = zip(map(self.index.position, explanation.history_items[:_PARTS]), explanation.history_parts)
        by_dimension = zip(explanation.dimensions[:_PARTS].tolist(), explanation.dimension_parts)
        return {
            **self._item(place),
            "score": _rounded(explanation.score),
            "segment": None if segment < 0 else segment,
            "items": [{**self._item(other), "part": _rounded(part)} for other, part in by_item],
            "other_items": _others(explanation.history_parts),
            "dimensions": [
                {"dimension": dimension, "name": self._dimension_names[dimension], "part": _rounded(part)}
                for dimension, part in by_dimension
            ],
            "other_dimensions": _others(explanation.dimension_parts),
        }

    def _active_dimensions(self, user_vector):
        """The user's strongest latent dimensions, and the weights that the user's best segments have in them."""
        strongest = np.argsort(-np.abs(user_vector), kind="stable")[:_DIMENSIONS_OF_USER]
        strongest = strongest[user_vector[strongest] != 0]
        affinities = self.segments.vectors @ user_vector
        best = np.argsort(-affinities, kind="stable")[:_SEGMENTS_OF_USER]
        weights = self._directions[best][:, strongest].toarray()
        signs = np.sign(self.segments.vectors[best][:, strongest].toarray())
        return {
            "dimensions": strongest.tolist(),
            "user": [_rounded(weight) for weight in user_vector[strongest] / max(np.linalg.norm(user_vector), 1e-12)],
            "segments": [
                {
                    "segment": place,
                    "affinity": _rounded(affinities[place]),
                    "weights": [_rounded(weight) for weight in of_segment],
                    "own": (own != 0).tolist(),
                }
                for place, of_segment, own in zip(best.tolist(), weights, signs)
            ],
        }


def _text(name, values):
    if len(values) != 1:
        raise OptionError(f"{name} must be given once")
    return values[0]


def _whole_number(name, values):
    text = _text(name, values)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OptionError(f"{name} is {text!r}, but must be a whole number of at least 0")
    return int(text)


def _texts(name, values):
    return values


# The questions that the page may ask by name: their parameters, and what makes them of the texts of a request.
QUESTIONS: dict[str, dict[str, Callable[[str, list[str]], Any]]] = {
    "overview": {},
    "users": {"text": _text},
    "items": {"text": _text},
    "user": {"user": _text},
    "history": {"item": _texts},
    "segment": {"segment": _whole_number, "start": _whole_number},
    "dimensions": {},
    "dimension": {"dimension": _whole_number, "start": _whole_number},
}


def spread(values: Sequence[_Value], n: int) -> list[_Value]:
    """At most n of the values, spread evenly from the first to the last."""
    places = np.linspace(0, len(values) - 1, min(n, len(values))).round().astype(int)
    return [values[place] for place in places]


def _completions(text, searched):
    """The places of the texts (tuples, in lower case) that begin with or else contain a text: at most 12."""
    text = text.strip().casefold()
    if not text:
        return range(min(_COMPLETIONS, len(searched)))
    beginning = [place for place, texts in enumerate(searched) if any(other.startswith(text) for other in texts)]
    if len(beginning) >= _COMPLETIONS:
        return beginning[:_COMPLETIONS]
    taken = set(beginning)
    containing = (
        place for place, texts in enumerate(searched) if place not in taken and any(text in other for other in texts)
    )
    return beginning + list(islice(containing, _COMPLETIONS - len(beginning)))


def _others(parts):
    """How many parts are not listed, and their sum; None if all are."""
    rest = parts[_PARTS:]
    return {"number": len(rest), "part": _rounded(rest.sum())} if len(rest) else None


def _rounded(number):
    return round(float(number), 5)
