"""The sparse start of training, against a naive dense computation."""

import pytest
import torch
from conftest import histories_of

from recbole_sparse_elsa.core import neighbour_start

N_USERS, N_ITEMS, WIDTH, NONZEROS = 30, 12, 20, 5


def random_rows():
    """0/1 rows; the last user has no item, and the last item no user."""
    rows = (torch.rand(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    rows[-1], rows[:, -1] = 0, 0
    return rows


@pytest.mark.parametrize("block_size", [8, 13, 20])
def test_keeps_the_entries_with_the_largest_sums_over_the_items_that_share_users(monkeypatch, block_size):
    monkeypatch.setattr("recbole_sparse_elsa.core.sparse_start._BLOCK_SIZE", block_size * N_USERS)
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
