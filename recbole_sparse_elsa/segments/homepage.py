"""A user's homepage: rows are the user's best segments, and each holds its best items (method page, section 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.segments.segments import Segment, Segments

ROW_ORDERS = ("affinity", "scores")


@dataclass(frozen=True)
class HomepageRow:
    """A row of a homepage.

    Attributes
    ----------
    segment : int
        The place of its segment among the segments.
    name : str
        The segment's name.
    affinity : float
        The user's affinity to the segment: the product of the user vector and the segment's vector.
    items : list of str
        The tokens of its items, best first.
    labels : list of str
        What they are called.
    scores : list of float
        The model's scores.
    details : list of str
        What stands below each label, such as year and genres; empty if there is none.
    """

    segment: int
    name: str
    affinity: float
    items: list[str]
    labels: list[str]
    scores: list[float]
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Homepage:
    """The homepage of a user.

    Attributes
    ----------
    rows : list of HomepageRow
        The best segment first; no item is in two rows.
    history : list of str
        What the known items of the user's history are called.
    unknown_items : list of str
        The tokens of the history that the index does not have, which were skipped.
    """

    rows: list[HomepageRow]
    history: list[str]
    unknown_items: list[str]


def homepage(
    index: Any,
    segments: Segments,
    history: Iterable[str],
    rows: int = 5,
    items_per_row: int = 10,
    rows_by: str = "affinity",
) -> Homepage:
    """The user's best segments, each with its best items by the model's scores.

    Parameters
    ----------
    index : SparseIndex
        Or any object with ``item_tokens``, ``user_vector(history)`` and ``scores(history)`` like its.
    segments : Segments
        Segments of the same items.
    history : sequence of str
        The tokens of the user's items, which are not shown again.
    rows : int
        Number of rows at most. A segment of which no item is left that the model scores above 0 makes no row.
    items_per_row : int
        Number of items in a row at most.
    rows_by : {"affinity", "scores"}
        Whether the best segments are those of the largest affinity, as in the paper, in which the popularity of items
        plays no part; or those whose row has the largest sum of the model's scores.

    Returns
    -------
    Homepage

    Raises
    ------
    OptionError
        An argument is not as described, the segments are of other items, or the index has no item of the history.
    """
    for name, value in (("rows", rows), ("items_per_row", items_per_row)):
        require_whole_number(name, value, at_least=1)
    if rows_by not in ROW_ORDERS:
        raise OptionError(f"rows_by is {rows_by!r}, but must be one of {', '.join(ROW_ORDERS)}")
    tokens = segments.tree.item_tokens
    if list(index.item_tokens) != tokens:
        raise OptionError("the segments were made from other items than the index has; make them from this index")
    width = len(index.user_vector([]))
    if segments.tree.embedding_size != width:
        raise OptionError(
            f"the segments are of {segments.tree.embedding_size} latent dimensions, but the index has {width}; make "
            "them from this index"
        )
    if isinstance(history, str):
        raise OptionError(f"history is the text {history!r}, but must be a list of item tokens")
    history = list(dict.fromkeys(history))
    place_of = segments.place_of_item
    unknown_items = [token for token in history if token not in place_of]
    known = np.array([place_of[token] for token in history if token in place_of], dtype=np.int64)
    if len(known) == 0:
        raise OptionError("the index has no item of this history; give at least one item that it has")
    affinities = segments.vectors @ index.user_vector(history)
    scores = np.array(index.scores(history))
    scores[known] = 0

    def best_of(segment: Segment) -> np.ndarray:
        items = np.sort(segment.items)
        best = items[np.argsort(-scores[items], kind="stable")[:items_per_row]]
        return best[scores[best] > 0]

    order = affinities if rows_by == "affinity" else np.array([scores[best_of(segment)].sum() for segment in segments])
    page: list[HomepageRow] = []
    for place in np.argsort(-order, kind="stable").tolist():
        best = best_of(segments[place])
        if len(best):
            page.append(
                HomepageRow(
                    segment=place,
                    name=segments[place].name,
                    affinity=float(affinities[place]),
                    items=[tokens[item] for item in best],
                    labels=[segments.tree.label(item) for item in best],
                    scores=scores[best].tolist(),
                    details=[segments.tree.detail(item) for item in best],
                )
            )
        if len(page) == rows:
            break
    return Homepage(page, [segments.tree.label(item) for item in known], unknown_items)
