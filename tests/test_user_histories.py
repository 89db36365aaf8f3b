"""User histories in CSR form."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_sparse_elsa.core import UserHistories


@given(
    histories=st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=6),
    data=st.data(),
)
def test_rows_are_the_users_items_whatever_the_batch(histories, data):
    pointers = torch.tensor([0, *(len(items) for items in histories)]).cumsum(0)
    items = torch.tensor([item for history in histories for item in sorted(history)], dtype=torch.int64)
    users = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=8))
    user_histories = UserHistories(pointers, items, n_items=7)
    batch = user_histories.batch(torch.tensor(users, dtype=torch.int64))
    rows = batch.rows()
    assert rows.tolist() == [[float(item in histories[user]) for item in range(7)] for user in users]
    assert user_histories.lengths(torch.arange(len(histories))).tolist() == [len(items) for items in histories]
    assert torch.equal(batch.columns(), rows.T)
    assert torch.equal(batch.sparse_rows().to_dense(), rows)
    assert torch.equal(batch.sparse_tensor().to_dense(), rows)
    assert torch.equal(batch.sparse_columns().to_dense(), rows.T)
    parts = list(batch.split(data.draw(st.integers(1, 9))))
    assert torch.equal(torch.cat([part.rows() for part in parts]) if parts else rows, rows)
