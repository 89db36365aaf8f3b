"""What training starts from, against naive dense computations."""

import math

import numpy
import pytest
import torch
from scipy.optimize import nnls

from recbole_sparse_elsa.core import TopKEmbedding, UserHistories, neighbour_start, regression_start, spectral_start

N_USERS, N_ITEMS, WIDTH, NONZEROS = 30, 12, 20, 5


def random_rows():
    """0/1 rows; the last user has no item, and the last item no user."""
    rows = (torch.rand(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    rows[-1], rows[:, -1] = 0, 0
    return rows


def histories_of(rows):
    matrix = rows.to_sparse_csr()
    return UserHistories(matrix.crow_indices(), matrix.col_indices(), rows.shape[1])


@pytest.mark.parametrize("block_size", [8, 13, 20])
def test_keeps_the_entries_with_the_largest_sums_over_the_items_that_share_users(monkeypatch, block_size):
    monkeypatch.setattr("recbole_sparse_elsa.core.starts.neighbours._BLOCK_SIZE", block_size * N_USERS)
    rows = random_rows()
    torch.manual_seed(3)
    columns, values = neighbour_start(histories_of(rows), WIDTH, NONZEROS)

    torch.manual_seed(3)
    bound = (6 / (N_ITEMS + WIDTH)) ** 0.5
    widths = [min(block_size, WIDTH - first) for first in range(0, WIDTH, block_size)]
    drawn = torch.cat([torch.empty(N_ITEMS, width).uniform_(-bound, bound) for width in widths], dim=1)
    for item in range(N_ITEMS):
        sums = drawn[item].double() * 1e-12
        for user in rows[:, item].nonzero().flatten().tolist():
            for other in rows[user].nonzero().flatten().tolist():
                popularities = rows[:, item].sum() * rows[:, other].sum()
                sums = sums + drawn[other].double() / (rows[user].sum() * popularities.sqrt())
        largest = sums.abs().topk(NONZEROS).indices.sort().values
        assert columns[item].tolist() == largest.tolist()
        assert values[item].tolist() == drawn[item][largest].tolist()


def test_an_item_without_users_keeps_the_largest_of_its_entries():
    _, values = neighbour_start(histories_of(random_rows()), 1000, 10)
    assert values[-1].abs().min() > 0.95 * (6 / (N_ITEMS + 1000)) ** 0.5


def test_items_with_the_same_users_keep_the_same_places():
    rows = torch.zeros(8, 6)
    rows[:4, :3], rows[4:, 3:] = 1, 1
    columns, values = neighbour_start(histories_of(rows), 64, 4)
    assert (columns[:3] == columns[0]).all() and (columns[3:] == columns[3]).all()
    assert columns[0].tolist() != columns[3].tolist()
    assert len(values[:3].unique()) == 12


REG_WEIGHT = 4.3
REGRESSION = {"reg_weight": REG_WEIGHT, "l1_weight": 0.3, "length_exponent": -0.25}


def rows_without_ties():
    """As `random_rows`, each item with another number of users: no two items are equally near to a third."""
    rows = random_rows()
    for item in range(N_ITEMS - 1):
        rows[:-1, item] = 0
        rows[torch.randperm(N_USERS - 1, generator=torch.Generator().manual_seed(item))[: 5 + item], item] = 1
    return rows


def dense(column_indices, values):
    """Embeddings as a matrix, scaled by their own entries, which are the same number before rows get their length."""
    matrix = torch.zeros(N_ITEMS, N_ITEMS, dtype=torch.float64)
    for item in range(N_ITEMS):
        present = column_indices[item] >= 0
        matrix[item, column_indices[item][present]] = values[item][present].double()
    return matrix / matrix.diagonal()[:, None]


@pytest.mark.parametrize("block_size", [1, 2**25])
@pytest.mark.parametrize("n_candidates", [3, 64])
def test_regression_of_each_item_on_the_items_that_share_most_users(monkeypatch, block_size, n_candidates):
    monkeypatch.setattr("recbole_sparse_elsa.core.starts.regression._BLOCK_SIZE", block_size)
    monkeypatch.setattr("recbole_sparse_elsa.core.starts.regression._CANDIDATES", n_candidates)
    monkeypatch.setattr("recbole_sparse_elsa.core.starts.regression._SWEEPS", 100)
    rows = rows_without_ties()
    start = dense(*regression_start(histories_of(rows), 4, **REGRESSION))

    lengths = rows.sum(dim=1).double()
    weights = lengths.clamp(min=1) ** -0.25
    weights *= lengths.sum() / (weights * lengths).sum()  # 1 in the mean of the interactions
    gram = rows.T.double() @ (weights[:, None] * rows)
    expected, solutions, residuals = torch.eye(N_ITEMS, dtype=torch.float64), {}, {}
    for item in range(N_ITEMS):
        nearness = gram[item] / (gram.diagonal() + REG_WEIGHT).sqrt()
        nearness[item] = 0
        chosen = [other for other in nearness.argsort(descending=True).tolist() if nearness[other] > 0][:n_candidates]
        system = gram[chosen][:, chosen] + REG_WEIGHT * torch.eye(len(chosen), dtype=torch.float64)
        # The square root of the system turns the problem into one of least squares.
        root = torch.linalg.cholesky(system)
        targets = torch.linalg.solve(root, (gram[chosen, item] - 0.3)[:, None]).flatten()
        solution = torch.from_numpy(nnls(root.T.numpy(), targets.numpy())[0] if chosen else targets.numpy())
        solutions[item] = dict(zip(chosen, solution.tolist()))
        residuals[item] = gram[item, item].item() + REG_WEIGHT - (gram[chosen, item] @ solution).item()
    for item in range(N_ITEMS):
        correlations = {
            other: weight * (residuals[other] / residuals[item]) ** 0.5 for other, weight in solutions[item].items()
        }
        for other in sorted(correlations, key=correlations.get)[-3:]:
            expected[item, other] = correlations[other] / 0.15
    torch.testing.assert_close(start, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_candidates", [2, 64])
def test_without_weights_and_l1_the_partial_correlations_are_those_of_ease(monkeypatch, n_candidates):
    # Where an item is to keep more entries than there are candidates, it is regressed on as many.
    for name, value in (("_SWEEPS", 100), ("_CANDIDATES", n_candidates)):
        monkeypatch.setattr(f"recbole_sparse_elsa.core.starts.regression.{name}", value)
    # Three items with a user of all three in each of four groups: no weight of EASE is negative.
    rows = torch.zeros(N_USERS, N_ITEMS)
    for group in range(4):
        rows[7 * group : 7 * group + 7, 3 * group : 3 * group + 3] = random_rows()[7 * group : 7 * group + 7, :3]
        rows[7 * group : 7 * group + 3, 3 * group : 3 * group + 3] = 1
    start = dense(*regression_start(histories_of(rows), N_ITEMS, REG_WEIGHT, 0, 0))
    inverse = torch.linalg.inv((rows.T @ rows).double() + REG_WEIGHT * torch.eye(N_ITEMS, dtype=torch.float64))
    # EASE's weight of i for j is -inverse[i, j] / inverse[j, j].
    assert (inverse - inverse.diag().diag() <= 0).all()
    expected = -inverse / (inverse.diagonal()[:, None] * inverse.diagonal()).sqrt() / 0.15
    expected.fill_diagonal_(1)
    torch.testing.assert_close(start, expected, rtol=1e-4, atol=1e-5)


def test_an_item_without_users_is_regressed_on_nothing_and_unlike_all_others():
    columns, values = regression_start(histories_of(random_rows()), 4, **REGRESSION)
    assert columns[-1].tolist() == [N_ITEMS - 1, -1, -1, -1]
    assert (columns[:-1] != N_ITEMS - 1).all()
    # As the layer takes it: rows may have different numbers of entries.
    layer = TopKEmbedding(N_ITEMS, N_ITEMS, start=(columns, values))
    assert layer.nonzeros().tolist() == (columns >= 0).sum(dim=1).tolist()
    similarities = layer() @ layer().T
    torch.testing.assert_close(similarities[-1], torch.eye(N_ITEMS)[-1])


@pytest.mark.parametrize("width", [2, 7, 11])
def test_spectral_start_has_the_singular_vectors_of_the_weighted_interactions(width):
    rows = random_rows()
    rows[:-1, 3] = 1  # an item that every user has weighs nothing
    torch.manual_seed(0)
    embeddings, norms = spectral_start(histories_of(rows), width)

    weights = torch.tensor([math.log((N_USERS - 1) / max(1, int(rows[:, item].sum()))) for item in range(N_ITEMS)])
    _, singular_values, directions = numpy.linalg.svd((rows * weights).double().numpy())
    expected = torch.from_numpy(directions[:width].T * singular_values[:width] ** 0.5).float()
    # Singular vectors are determined up to their signs.
    torch.testing.assert_close(norms, expected.norm(dim=1), atol=1e-3, rtol=1e-3)
    rows_of = embeddings * norms[:, None]
    torch.testing.assert_close(rows_of @ rows_of.T, expected @ expected.T, atol=2e-3, rtol=1e-3)
    assert (norms == 0).nonzero().flatten().tolist() == [3, N_ITEMS - 1]
    assert (embeddings[norms == 0] == 0).all()
    torch.testing.assert_close(embeddings.norm(dim=1), (norms > 0).float())
