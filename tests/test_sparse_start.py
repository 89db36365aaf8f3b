"""The sparse start of training, against a naive dense computation."""

import pytest
import torch
from conftest import histories_of
from torch.nn import functional as F

from recbole_sparse_elsa.core import cooccurrence_start

N_USERS, N_ITEMS = 30, 12


def random_rows():
    """0/1 rows; the last user has no item, and the last item no user."""
    rows = (torch.rand(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    rows[-1], rows[:, -1] = 0, 0
    return rows


def rows_without_ties():
    """As `random_rows`, each item with another number of users: no two items are equally near to a third."""
    rows = random_rows()
    for item in range(N_ITEMS - 1):
        rows[:-1, item] = 0
        rows[torch.randperm(N_USERS - 1, generator=torch.Generator().manual_seed(item))[: 5 + item], item] = 1
    return rows


def dense(columns, values, width):
    matrix = torch.zeros(len(columns), width, dtype=torch.float64)
    present = columns >= 0
    matrix[present.nonzero(as_tuple=True)[0], columns[present]] = values[present].double()
    return matrix


def naive_start(rows, width, nonzeros):
    """Item by item, and pair by pair."""
    popularity = rows.sum(dim=0)
    by_popularity = sorted(range(N_ITEMS), key=lambda item: (-popularity[item], item))
    dimension = {item: rank % width for rank, item in enumerate(by_popularity)}
    expected = torch.zeros(N_ITEMS, width, dtype=torch.float64)
    for item in range(N_ITEMS):
        sums = torch.zeros(width, dtype=torch.float64)
        for user in rows[:, item].nonzero().flatten().tolist():
            for other in rows[user].nonzero().flatten().tolist():
                if dimension[other] != dimension[item]:
                    sums[dimension[other]] += 1 / (rows[user].sum() * popularity[other].sqrt()).item()
        sums[sums < sums.sort(descending=True).values[nonzeros - 2]] = 0
        share = (popularity[item] / (popularity[item] + 20)).item() if sums.any() else 0
        expected[item] = F.normalize(sums, dim=0) * share**0.5
        expected[item, dimension[item]] = (1 - share) ** 0.5
    return expected


@pytest.mark.parametrize("block_size", [1, 5 * N_ITEMS, 2**24])
@pytest.mark.parametrize("width, nonzeros", [(N_ITEMS, N_ITEMS), (N_ITEMS, 5), (20, 5), (5, 3)])
def test_agrees_with_sums_over_the_pairs_of_items_that_share_users(monkeypatch, block_size, width, nonzeros):
    monkeypatch.setattr("recbole_sparse_elsa.core.gram_matrix._BLOCK_ENTRIES", block_size)
    rows = rows_without_ties()
    columns, values = cooccurrence_start(histories_of(rows), width, nonzeros)
    assert columns.shape == values.shape == (N_ITEMS, nonzeros)
    torch.testing.assert_close(dense(columns, values, width), naive_start(rows, width, nonzeros), rtol=1e-5, atol=1e-6)
    for row, row_values in zip(columns, values):
        present = row[row >= 0]
        assert present.tolist() == sorted(set(present.tolist())) and (row[len(present) :] == -1).all()
        assert (row_values[: len(present)] > 0).all() and (row_values[len(present) :] == 0).all()
    torch.testing.assert_close(values.norm(dim=1), torch.ones(N_ITEMS))


def test_an_item_that_shares_no_user_has_its_own_dimension_alone():
    columns, values = cooccurrence_start(histories_of(random_rows()), N_ITEMS, 10)
    assert (columns[-1] >= 0).sum() == 1 and values[-1, 0] == 1
    lonely = torch.eye(4)
    columns, values = cooccurrence_start(histories_of(lonely), 4, 1)
    assert columns[:, 0].tolist() == [0, 1, 2, 3] and (values == 1).all()


def test_items_of_other_users_share_no_dimension():
    rows = torch.zeros(8, 6)
    rows[:4, :3], rows[4:, 3:] = 1, 1
    columns, _ = cooccurrence_start(histories_of(rows), 6, 4)
    first, second = (set(part[part >= 0].tolist()) for part in (columns[:3], columns[3:]))
    assert len(first) == len(second) == 3 and not first & second


def test_the_most_popular_items_have_a_dimension_of_their_own():
    rows = torch.zeros(40, 8)
    for item, users in enumerate([3, 40, 5, 30, 2, 20, 4, 1]):
        rows[:users, item] = 1
    columns, values = cooccurrence_start(histories_of(rows), 3, 1)
    assert columns[[1, 3, 5], 0].tolist() == [0, 1, 2]
    assert (values == 1).all()


def test_progress_adds_up_to_the_whole(monkeypatch):
    monkeypatch.setattr("recbole_sparse_elsa.core.gram_matrix._BLOCK_ENTRIES", 5 * N_ITEMS)
    shares = []
    cooccurrence_start(histories_of(random_rows()), N_ITEMS, 3, shares.append)
    assert len(shares) == 3 and sum(shares) == pytest.approx(1)
