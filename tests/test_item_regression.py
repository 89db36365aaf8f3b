"""The regression of items on each other, and the item embeddings made of it, against naive computations."""

import math

import pytest
import torch
from conftest import histories_of
from scipy.optimize import nnls
from test_sparse_start import N_ITEMS, N_USERS, random_rows, rows_without_ties

from recbole_sparse_elsa.core import (
    TopKEmbedding,
    embeddings_of_regression,
    hidden_ndcg,
    hold_out,
    popularity_scales,
    regress_items,
)

REG_WEIGHT = 4.3
REGRESSION = {"reg_weight": REG_WEIGHT, "l1_weight": 0.3, "length_exponent": -0.25}


def dense(column_indices, values):
    """Embeddings as a matrix, scaled by their own entries, which are the same number before rows get norm 1."""
    matrix = torch.zeros(N_ITEMS, N_ITEMS, dtype=torch.float64)
    for item in range(N_ITEMS):
        present = column_indices[item] >= 0
        matrix[item, column_indices[item][present]] = values[item][present].double()
    return matrix / matrix.diagonal()[:, None]


def embeddings_of(rows, k, own_weight=0.15, **weights):
    """With as many non-zeros for every item."""
    regression = regress_items(histories_of(rows), **{**REGRESSION, **weights})
    return embeddings_of_regression(regression, k, own_weight, torch.ones(N_ITEMS))


@pytest.mark.parametrize("block_size", [1, 2**25])
@pytest.mark.parametrize("n_candidates", [3, 64])
def test_regression_of_each_item_on_the_items_that_share_most_users(monkeypatch, block_size, n_candidates):
    for name in ("item_regression._SYSTEM_ENTRIES", "gram_matrix._BLOCK_ENTRIES"):
        monkeypatch.setattr(f"recbole_sparse_elsa.core.{name}", block_size)
    monkeypatch.setattr("recbole_sparse_elsa.core.item_regression.N_CANDIDATES", n_candidates)
    monkeypatch.setattr("recbole_sparse_elsa.core.item_regression._SWEEPS", 100)
    rows = rows_without_ties()
    done = []
    regression = regress_items(histories_of(rows), **REGRESSION, on_progress=done.append)
    assert sum(done) == pytest.approx(1)
    start = dense(*embeddings_of_regression(regression, N_ITEMS, 1.0, torch.ones(N_ITEMS)))

    lengths = rows.sum(dim=1).double()
    weights = lengths.clamp(min=1) ** -0.25
    weights *= lengths.sum() / (weights * lengths).sum()  # 1 on average over the interactions
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
        for other in correlations:
            expected[item, other] = correlations[other]
    torch.testing.assert_close(start, expected, rtol=1e-4, atol=1e-5)


def test_without_weights_and_l1_the_partial_correlations_are_those_of_ease(monkeypatch):
    monkeypatch.setattr("recbole_sparse_elsa.core.item_regression._SWEEPS", 100)
    # Three items with a user of all three in each of four groups: no weight of EASE is negative.
    rows = torch.zeros(N_USERS, N_ITEMS)
    for group in range(4):
        rows[7 * group : 7 * group + 7, 3 * group : 3 * group + 3] = random_rows()[7 * group : 7 * group + 7, :3]
        rows[7 * group : 7 * group + 3, 3 * group : 3 * group + 3] = 1
    start = dense(*embeddings_of(rows, N_ITEMS, l1_weight=0, length_exponent=0))
    inverse = torch.linalg.inv((rows.T @ rows).double() + REG_WEIGHT * torch.eye(N_ITEMS, dtype=torch.float64))
    # EASE's weight of i for j is -inverse[i, j] / inverse[j, j].
    assert (inverse - inverse.diag().diag() <= 0).all()
    expected = -inverse / (inverse.diagonal()[:, None] * inverse.diagonal()).sqrt() / 0.15
    expected.fill_diagonal_(1)
    torch.testing.assert_close(start, expected, rtol=1e-4, atol=1e-5)


def test_an_item_without_users_is_regressed_on_nothing_and_unlike_all_others():
    columns, values = embeddings_of(random_rows(), 4)
    assert columns[-1].tolist() == [N_ITEMS - 1] + [-1] * N_ITEMS
    assert (columns[:-1] != N_ITEMS - 1).all()
    # As the layer takes it: rows may have different numbers of entries.
    layer = TopKEmbedding(N_ITEMS, N_ITEMS, start=(columns, values))
    assert layer.nonzeros().tolist() == (columns >= 0).sum(dim=1).tolist()
    similarities = layer() @ layer().T
    torch.testing.assert_close(similarities[-1], torch.eye(N_ITEMS)[-1])



def test_nonzeros_follow_the_shares_and_rows_have_norm_one():
    regression = regress_items(histories_of(random_rows()), **REGRESSION)
    shares = torch.arange(1, N_ITEMS + 1).double()
    columns, values = embeddings_of_regression(regression, 4, 0.15, shares)
    counts = (columns >= 0).sum(dim=1)
    assert ((values > 0) == (columns >= 0)).all() and (values >= 0).all()
    assert counts.sum() == 4 * N_ITEMS and counts[0] == 2 and counts[-1] == 1  # the last has no user
    assert (counts[1:-1].diff() >= 0).all()
    torch.testing.assert_close(values.norm(dim=1), torch.ones(N_ITEMS))
    for row, count in zip(columns.tolist(), counts.tolist()):
        assert row[:count] == sorted(row[:count]) and set(row[count:]) <= {-1}


def test_a_tenth_of_the_items_of_users_with_two_or_more_is_hidden():
    rows = torch.zeros(5, 40)
    rows[0, 3], rows[1, [3, 7]], rows[2, :40], rows[3, :14] = 1, 1, 1, 1
    shown, hidden = hold_out(histories_of(rows), torch.Generator().manual_seed(0))
    assert hidden.row_pointers.diff().tolist() == [0, 1, 4, 1, 0]
    for user in range(5):
        parts = [part.batch(torch.tensor([user])).item_index.tolist() for part in (shown, hidden)]
        assert sorted(parts[0] + parts[1]) == rows[user].nonzero().flatten().tolist()
    again = hold_out(histories_of(rows), torch.Generator().manual_seed(0))[1]
    assert torch.equal(again.item_indices, hidden.item_indices)


def test_no_more_than_4000_users_have_hidden_items():
    _, hidden = hold_out(histories_of(torch.ones(4200, 2)), torch.Generator().manual_seed(0))
    assert (hidden.row_pointers.diff() == 1).sum() == 4000 and len(hidden.item_indices) == 4000


def test_ndcg_of_hidden_items_against_a_naive_computation():
    rows = (torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    shown, hidden = hold_out(histories_of(rows), torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    layer = TopKEmbedding(30, 8, item_scale=popularity_scales(rows.sum(dim=0), 0.25))
    layer.weight.data.abs_()  # so that no two scores are 0
    figures = []
    for user in range(40):
        of_user = torch.tensor([user])
        wanted = set(hidden.batch(of_user).item_index.tolist())
        scores = layer.predict(shown.batch(of_user))[0]
        seen = set(shown.batch(of_user).item_index.tolist())
        ranking = sorted((item for item in range(30) if item not in seen), key=lambda item: -scores[item].item())[:10]
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranking) if item in wanted)
        figures.append(gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(wanted)))))
    assert hidden_ndcg(layer, shown, hidden) == pytest.approx(sum(figures) / len(figures), abs=1e-6)
