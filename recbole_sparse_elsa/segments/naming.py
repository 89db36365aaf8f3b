"""Names of segments: the terms of the items' metadata that set a segment's members apart from all other items."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from recbole_sparse_elsa import output
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.segments.item_metadata import ItemMetadata
from recbole_sparse_elsa.segments.segments import Segments

# The prior of the log-odds: as if so many more items had been seen, with terms as frequent as in the whole catalogue.
_PRIOR_ITEMS = 10
# A term must be this many standard deviations more frequent among the members: 2.5 % of terms are by chance.
_LEAST_Z = 1.96
# A term that fewer of the members have says nothing of most of them.
_LEAST_SHARE = 0.05
_TERMS_IN_NAME = 3
_TERMS_FOR_NAMING = 20


#: Makes the name of a segment from the labels of its items and the terms that set it apart, each with its z.
Naming = Callable[[list[str], list[tuple[str, float]]], str]


def name_segments(segments: Segments, metadata: ItemMetadata, naming: Naming | None = None) -> Segments:
    """Name segments from the metadata of their items.

    Every node of the tree is named, so that names stay the same at every cut: its members are compared with all other
    items of the catalogue.

    Parameters
    ----------
    segments : Segments
        The segments of the catalogue.
    metadata : ItemMetadata
        That of the same items in the same order.
    naming : callable, optional
        Gets a segment's item labels (list of str, the most prominent first) and the terms that set it apart (list of
        pairs of a term and its z, the largest first, at most 20), and returns its name (str). By default the first
        three terms, or, if there are none, the first two labels.

    Returns
    -------
    Segments
        The same, with names, labels and details.

    Raises
    ------
    OptionError
        The metadata are of another number of items, or ``naming`` returns no name.
    """
    tree = segments.tree
    if len(metadata.labels) != len(tree.item_tokens):
        raise OptionError(f"metadata are of {len(metadata.labels)} items, but there are {len(tree.item_tokens)} items")
    vocabulary, has_term = _term_matrix(metadata.terms)
    in_all = np.asarray(has_term.sum(axis=0)).ravel()
    names = []
    nodes = range(2 * tree.n_leaves - 1)
    with output.progress("Names", len(nodes), "segment", shown=None) as bar:
        for node in nodes:
            items = tree.items_of_node(node)
            in_members = np.asarray(has_term[items].sum(axis=0)).ravel()
            z = log_odds_z(in_members, len(items), in_all, len(tree.item_tokens))
            z[in_members < max(min(2, len(items)), _LEAST_SHARE * len(items))] = -np.inf
            best = np.argsort(-z, kind="stable")[:_TERMS_FOR_NAMING]
            terms = [(vocabulary[term], float(z[term])) for term in best if z[term] >= _LEAST_Z]
            name = (naming or _default_name)([metadata.labels[item] for item in items], terms)
            if not isinstance(name, str) or not name.strip():
                raise OptionError(f"naming must return the name of a segment as text, but returned {name!r}")
            names.append(name)
            bar.update()
    named = dataclasses.replace(tree, names=names, labels=list(metadata.labels), details=metadata.details)
    return Segments(named, len(segments))


def log_odds_z(in_members: np.ndarray, n_members: int, in_all: np.ndarray, n_all: int) -> np.ndarray:
    """How far the frequency of terms among members of a segment is from that among all other items.

    The log-odds ratio with an informative prior (Monroe, Colaresi and Quinn, "Fightin' Words", Political Analysis 2008,
    section 3.3.2), divided by its standard deviation. An item has a term or has it not, so that the variance counts
    both.

    Parameters
    ----------
    in_members, in_all : numpy.ndarray
        Shape ``(n_terms,)``: number of members, and of all items with the members, that have a term (at least 1).
    n_members, n_all : int
        Number of members, and of all items.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(n_terms,)``: z, positive where members have the term more often than others.
    """
    # Half an item on either side keeps a term that every item has from an infinite log-odds.
    prior = _PRIOR_ITEMS * (in_all + 0.5) / (n_all + 1)
    members, others = in_members + prior, in_all - in_members + prior
    members_without = n_members + _PRIOR_ITEMS - members
    others_without = n_all - n_members + _PRIOR_ITEMS - others
    log_odds_ratio = np.log(members / members_without) - np.log(others / others_without)
    return log_odds_ratio / np.sqrt(1 / members + 1 / members_without + 1 / others + 1 / others_without)


def _term_matrix(terms_of_item: Sequence[Sequence[str]]) -> tuple[list[str], csr_matrix]:
    """All terms, and which items have them: float64, items x terms. Upper and lower case are the same term."""
    place_of: dict[str, int] = {}
    vocabulary: list[str] = []
    places: list[int] = []
    pointers = [0]
    for terms in terms_of_item:
        for term in terms:
            if term.lower() not in place_of:
                place_of[term.lower()] = len(vocabulary)
                vocabulary.append(term)
            places.append(place_of[term.lower()])
        pointers.append(len(places))
    shape = (len(terms_of_item), len(vocabulary))
    has_term = csr_matrix((np.ones(len(places)), places, pointers), shape=shape)
    has_term.sum_duplicates()
    has_term.data[:] = 1
    return vocabulary, has_term


def _default_name(labels: list[str], terms: list[tuple[str, float]]) -> str:
    return ", ".join([term for term, _ in terms[:_TERMS_IN_NAME]] or labels[:2])
