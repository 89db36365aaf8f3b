"""What "implicit feedback" means: a (user, item) pair counts once, however many lines it has."""

import types
from collections.abc import Callable
from typing import Any

from scipy.sparse import coo_matrix

from recbole_sparse_elsa.data.repeats import drop_repeated_pairs, first_of_each_pair, learns_from_pairs
from recbole_sparse_elsa.plugin.patching import names_in, replaces


def _adds_up(inter_matrix: Callable[..., Any]) -> bool:
    twice = coo_matrix(([1.0, 1.0], ([0, 0], [0, 0])), shape=(1, 1))
    stub = types.SimpleNamespace(uid_field="u", iid_field="i", inter_feat=None)
    stub._create_sparse_matrix = lambda *arguments: twice.asformat(arguments[3])
    return inter_matrix(stub, form="csr").max() > 1


@replaces(
    "recbole.data.dataset.Dataset.inter_matrix",
    parameters="self form value_field",
    until="RecBole's matrix without a value_field is 0 or 1, as it documents",
    probe=_adds_up,
    kind="repair",
)
def count_each_pair_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make interaction matrices without a ``value_field`` 0 or 1, as RecBole documents them.

    It adds repeated (user, item) lines up, so that models on the matrix see weights where others see 0 or 1.
    """

    def inter_matrix(self, form="coo", value_field=None):
        matrix = original(self, form, value_field)
        if value_field is not None:
            return matrix
        if form == "csr":
            matrix.data[:] = 1
            return matrix
        first = first_of_each_pair(matrix.row, matrix.col)
        if len(first) == matrix.nnz:
            return matrix
        return coo_matrix((matrix.data[first], (matrix.row[first], matrix.col[first])), shape=matrix.shape)

    return inter_matrix


@replaces(
    "recbole.data.dataset.Dataset.build",
    parameters="self",
    until="RecBole trains on each (user, item) pair once",
    probe=lambda build: "drop_repeated_pairs" not in names_in(build),
    kind="repair",
)
def train_on_each_pair_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Give general and knowledge-aware recommenders each training pair of a user and an item once, by its first line.

    RecBole adds repeated lines up, lists them twice in histories, or draws them more often, and so each model of a
    table means something else by implicit feedback. Models of sequences, contexts, ratings and labels get all lines.
    """

    def build(self):
        datasets = original(self)
        if learns_from_pairs(self.config, datasets[0]):
            drop_repeated_pairs(datasets[0])
        return datasets

    return build
