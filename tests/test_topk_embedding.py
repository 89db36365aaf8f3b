"""The top-k embedding layer in both forms, against values worked out by hand and naive row-by-row computations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.core import (
    SparseRows,
    TopKEmbedding,
    UserHistories,
    csr_of_state,
    is_unpruned_state,
    popularity_scales,
)

both_forms = pytest.mark.parametrize("compact", [False, True])


def layer_with(weight, compact=False, item_scale=None, scales_input=False):
    weight = torch.as_tensor(weight, dtype=torch.float32)
    layer = TopKEmbedding(*weight.shape, item_scale=item_scale, scales_input=scales_input)
    with torch.no_grad():
        layer.weight.copy_(weight)
    if compact:
        layer.compress()
    return layer


def batch_of(rows):
    """A batch of users whose interactions are the non-zeros of ``rows``."""
    matrix = torch.as_tensor(rows, dtype=torch.float32).to_sparse_csr()
    histories = UserHistories(matrix.crow_indices(), matrix.col_indices(), matrix.shape[1])
    return histories.batch(torch.arange(matrix.shape[0]))


def random_rows(n_users, n_items, seed=0):
    """0/1 rows, none of them empty."""
    rows = (torch.rand(n_users, n_items, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    rows[torch.arange(n_users), torch.arange(n_users) % n_items] = 1.0
    return rows


@both_forms
def test_keeps_the_largest_magnitudes_with_their_signs_and_scales_rows_to_norm_one(compact):
    layer = layer_with([[3.0, -4.0, 1.0, 2.0], [0.5, 0.1, -0.2, -0.3]], compact)
    layer.prune(2)
    torch.testing.assert_close(layer()[0], torch.tensor([0.6, -0.8, 0.0, 0.0]))
    torch.testing.assert_close(layer()[1], torch.tensor([0.5, 0.0, 0.0, -0.3]) / 0.34**0.5)
    assert layer.nonzeros().tolist() == [2, 2]


@both_forms
def test_rows_may_keep_different_numbers_of_nonzeros(compact):
    layer = layer_with([[3.0, -4.0, 1.0], [0.5, 0.1, -0.2], [1.0, 2.0, 3.0]], compact)
    layer.prune(torch.tensor([1, 2, 3]))
    assert (layer() != 0).tolist() == [[False, True, False], [True, False, True], [True, True, True]]
    assert layer.bytes_per_item() == 8 * 2


def rounded_by_numpy(embeddings, value_dtype, largest=127):
    if value_dtype == "float16":
        return embeddings.astype(np.float16).astype(np.float32)
    steps = np.round(largest * embeddings / np.abs(embeddings).max(axis=1, keepdims=True)).astype(np.int16)
    return steps / np.linalg.norm(steps.astype(np.float32), axis=1, keepdims=True)


@pytest.mark.parametrize(
    "value_dtype, width, value_bytes, bytes_once_pruned, steps",
    [
        # 1 to 5 non-zeros, 3 in the mean, with 1 byte or 2 for each place, and 2 for the length of the row.
        ("float16", 256, 2, 3 * 3 + 2, None),
        ("float16", 257, 2, 3 * 4 + 2, None),
        ("int8", 256, 1, 3 * 2 + 2, 127),
        ("int8", 257, 1, 3 * 3 + 2, 127),
        # Lower bits of all places of a row, and its upper parts: 8 + 1, 14 + 3, 18 + 6, 24 + 7 and 25 + 12 bits.
        ("int4", 256, 0.5, 3 / 2 + 118 / 5 / 8 + 2, 7),
        # 3 + 2 and 4 + 4 bits, and three bitmaps.
        ("int4", 9, 0.5, 3 / 2 + (5 + 8 + 9 + 9 + 9) / 5 / 8 + 2, 7),
    ],
)
@both_forms
def test_small_types_round_what_users_are_scored_from_and_count_all_bytes(
    compact, value_dtype, width, value_bytes, bytes_once_pruned, steps
):
    layer = layer_with(torch.randn(5, width, generator=torch.Generator().manual_seed(2)), compact)
    layer.value_dtype = value_dtype
    assert layer.bytes_per_item() == value_bytes * width
    layer.prune(torch.tensor([1, 2, 3, 4, 5]))
    assert layer.bytes_per_item() == bytes_once_pruned
    rows = random_rows(6, 5)
    rounded = torch.from_numpy(rounded_by_numpy(layer().detach().numpy(), value_dtype, steps))
    torch.testing.assert_close(layer.encode(batch_of(rows)), rows @ rounded)
    torch.testing.assert_close(layer.reconstruct(batch_of(rows)), rows @ rounded @ rounded.T)
    assert not torch.equal(rounded, layer())


def test_gradient_reaches_only_the_support():
    layer = layer_with(torch.rand(5, 8, generator=torch.Generator().manual_seed(1)))
    layer.prune(5)
    layer.nmse_loss(batch_of(random_rows(6, 5))).backward()
    assert (layer.weight.grad[~layer.support] == 0).all()
    assert (layer.weight.grad[layer.support] != 0).any()


def test_compact_form_holds_the_nonzeros_only():
    layer = layer_with(torch.randn(5, 8))
    layer.prune(torch.tensor([1, 2, 3, 4, 8]))
    before = layer().clone()
    layer.compress()
    assert layer.weight.shape == (18,)
    torch.testing.assert_close(layer(), before)
    assert torch.equal(layer() != 0, before != 0)
    layer.prune(torch.tensor([1, 2, 2, 2, 2]))
    assert layer.weight.shape == (9,) and layer.weight.requires_grad


def test_expanding_undoes_compressing():
    layer = layer_with([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    layer.keep_initial_weight()
    layer.prune(torch.tensor([1, 3]))
    before, moments = layer.weight.detach().clone(), torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.0, 6.0, 7.0, 8.0]])
    nonzeros = layer.compress()(moments)
    assert torch.equal(layer.expand()(nonzeros), moments)
    assert not layer.is_compact and layer.weight.requires_grad
    for tensor in (layer.weight, layer.initial_weight):
        assert torch.equal(tensor, before)
    assert layer.support.tolist() == [[True, False, False, False], [False, True, True, True]]


@both_forms
def test_a_pruned_entry_does_not_come_back(compact):
    layer = layer_with([[4.0, 3.0, 2.0, 1.0]])
    layer.prune(3)
    if compact:
        layer.compress()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.1, 3.0, 2.0] if compact else [[0.1, 3.0, 2.0, 100.0]]))
    layer.prune(2)
    assert (layer() != 0).tolist() == [[False, True, True, False]]
    with pytest.raises(ValueError, match="between 1 and its present number of non-zeros, 2"):
        layer.prune(3)


@both_forms
def test_restart_returns_the_kept_entries_to_their_initial_values(compact):
    layer = layer_with([[1.0, 2.0, 3.0]], compact)
    with pytest.raises(RuntimeError, match="keep_initial_weight"):
        layer.prune(2, restart=True)
    layer.keep_initial_weight()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([9.0, -8.0, 0.5]).view_as(layer.weight))
    layer.prune(2, restart=True)
    assert layer.weight.flatten()[:2].tolist() == [1.0, 2.0]
    torch.testing.assert_close(layer(), torch.tensor([[1.0, 2.0, 0.0]]) / 5**0.5)


@both_forms
def test_moments_follow_the_weight(compact):
    layer = layer_with([[4.0, 3.0, 2.0, 1.0]], compact)
    moments = torch.tensor([10.0, 20.0, 30.0, 40.0]).view_as(layer.weight)
    moments = layer.prune(2)(moments)
    assert moments.shape == layer.weight.shape
    if not compact:
        assert moments.tolist() == [[10.0, 20.0, 0.0, 0.0]]
        moments = layer.compress()(moments)
    assert moments.tolist() == [10.0, 20.0]


def test_pruning_to_the_whole_row_changes_nothing():
    layer = layer_with(torch.randn(3, 4))
    before = layer().clone()
    layer.prune(4)
    assert layer.support is None and torch.equal(layer(), before)
    assert layer.bytes_per_item() == 4 * 4


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("with_initial_weight", [False, True])
@both_forms
def test_state_dict_carries_the_support_into_a_layer_in_any_state(pruned, with_initial_weight, compact):
    saved = layer_with(torch.randn(4, 6))
    if with_initial_weight:
        saved.keep_initial_weight()
    if pruned:
        saved.prune(torch.tensor([1, 2, 3, 4]))
    if compact:
        saved.compress()
    fresh, pruned_dense, pruned_compact = TopKEmbedding(4, 6), TopKEmbedding(4, 6), TopKEmbedding(4, 6)
    for other in (pruned_dense, pruned_compact):
        other.keep_initial_weight()
        other.prune(1)
    pruned_compact.compress()
    pruned_compact()
    for loaded in (fresh, pruned_dense, pruned_compact):
        loaded.load_state_dict(saved.state_dict())
        assert torch.equal(loaded(), saved())
        assert torch.equal(loaded.nonzeros(), saved.nonzeros())
        assert loaded.is_compact == compact
        assert (loaded.initial_weight is None) == (not with_initial_weight)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n_items=st.integers(1, 6), embedding_size=st.integers(1, 8), data=st.data())
def test_agrees_with_a_naive_row_by_row_computation(seed, n_items, embedding_size, data):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_items, embedding_size, generator=generator)
    counts = data.draw(st.lists(st.integers(1, embedding_size), min_size=n_items, max_size=n_items))
    more = [data.draw(st.integers(count, embedding_size)) for count in counts]
    layer = layer_with(weight)
    # Pruned in two steps, in either form.
    order = data.draw(st.permutations(["compress", "prune", "prune"]))
    steps = iter([more, counts])
    for step in order:
        layer.compress() if step == "compress" else layer.prune(torch.tensor(next(steps)))
    for row, count, embedding in zip(weight.tolist(), counts, layer().tolist()):
        kept = sorted(range(embedding_size), key=lambda column: -abs(row[column]))[:count]
        norm = sum(row[column] ** 2 for column in kept) ** 0.5
        expected = [row[column] / norm if column in kept else 0.0 for column in range(embedding_size)]
        assert embedding == pytest.approx(expected, abs=1e-6)
    rows = random_rows(3, n_items, seed)
    torch.testing.assert_close(layer.reconstruct(batch_of(rows)), rows @ layer() @ layer().T)
    torch.testing.assert_close(layer.encode(batch_of(rows)), rows @ layer())


@both_forms
def test_predictions_are_multiplied_by_the_scales_of_the_items(compact):
    # Rows east, north, and between them; a user with the first: cosines 1 (itself, taken away), 0 and 0.6.
    scale = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float16)
    layer = layer_with([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]], compact, scale)
    predictions = layer.predict(batch_of([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    torch.testing.assert_close(predictions, torch.tensor([[0.0, 0.0, 0.15], [0.0, 0.0, 0.35]]))
    assert layer.bytes_per_item() == 4 * 2 + 2  # values of a dense matrix, and the scale


@both_forms
def test_items_of_the_input_are_divided_by_their_scales(compact):
    # As above, but the second user's vector is 1 east and 2 north; each item's own part is its scale divided by itself.
    scale = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float16)
    layer = layer_with([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]], compact, scale, scales_input=True)
    batch = batch_of([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(layer.encode(batch), torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    torch.testing.assert_close(layer.reconstruct(batch), torch.tensor([[1.0, 0.0, 0.6], [1.0, 2.0, 2.2]]))
    torch.testing.assert_close(layer.predict(batch), torch.tensor([[0.0, 0.0, 0.15], [0.0, 0.0, 0.55]]))
    # Without scales there is nothing to divide by.
    layer.item_scale = None
    torch.testing.assert_close(layer.encode(batch), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


def test_rows_of_another_width_take_the_place_of_the_former():
    layer = layer_with([[1.0, 2.0], [3.0, 4.0]])
    layer.replace_rows(torch.tensor([[0.0, 3.0, 4.0], [2.0, 0.0, 0.0]]))
    torch.testing.assert_close(layer(), torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]))
    assert layer.shape.tolist() == [2, 3] and layer.embedding_size == 3
    other = layer_with([[1.0, 2.0], [3.0, 4.0]])
    other.load_state_dict(layer.state_dict())
    assert other.embedding_size == 3 and torch.equal(other(), layer())


@both_forms
def test_rows_of_a_pruned_layer_are_not_replaced(compact):
    layer = layer_with([[1.0, 2.0], [3.0, 4.0]], compact)
    layer.prune(1)
    with pytest.raises(RuntimeError, match="only a dense layer that was not pruned"):
        layer.replace_rows(torch.ones(2, 3))


def test_rows_of_a_layer_with_initial_values_are_not_replaced():
    layer = layer_with([[1.0, 2.0], [3.0, 4.0]])
    layer.keep_initial_weight()
    with pytest.raises(RuntimeError, match="has no initial values"):
        layer.replace_rows(torch.ones(2, 3))


def layer_in_form(form):
    layer = layer_with([[3.0, -4.0, 1.0], [0.5, 0.1, -0.2]], item_scale=torch.tensor([1.0, 0.5]).half())
    if form != "dense":
        layer.prune(torch.tensor([2, 1]))
    if form == "compact":
        layer.compress()
    return layer


every_form = pytest.mark.parametrize("form", ["dense", "masked dense", "compact"])


@every_form
def test_a_layer_and_its_saved_state_give_the_same_nonzeros_row_by_row(form):
    layer = layer_in_form(form)
    columns = [0, 1, 2, 0, 1, 2] if form == "dense" else [0, 1, 0]
    values = [3.0, -4.0, 1.0, 0.5, 0.1, -0.2] if form == "dense" else [3.0, -4.0, 0.5]
    model = torch.nn.ModuleDict({"item_embedding": layer})
    for rows in (layer.to_csr(), csr_of_state(layer.state_dict()), csr_of_state(model.state_dict(), "item_embedding.")):
        assert rows.values.tolist() == pytest.approx(values) and not rows.values.requires_grad
        assert rows.columns.tolist() == columns and rows.shape == (2, 3)
        assert rows.row_pointers.tolist() == ([0, 3, 6] if form == "dense" else [0, 2, 3])
        assert rows.values.dtype == torch.float32 and rows.columns.dtype == rows.row_pointers.dtype == torch.int32
    assert is_unpruned_state(model.state_dict(), "item_embedding.") == (form == "dense")


@every_form
@pytest.mark.parametrize("into", ["dense", "masked dense", "compact"])
def test_the_nonzeros_of_a_layer_put_into_another_make_it_the_same_but_for_the_scales(form, into):
    rows = layer_in_form(form).to_csr()
    other = layer_with(torch.rand(2, 5), item_scale=torch.tensor([0.25, 1.0]).half())
    other.keep_initial_weight()
    if into != "dense":
        other.prune(2)
    if into == "compact":
        other.compress()
        other()
    other.load_csr(rows)
    assert all(torch.equal(*pair) for pair in zip(other.to_csr()[:3], rows[:3]))
    torch.testing.assert_close(other(), layer_in_form(form)())
    assert other.is_compact and other.embedding_size == 3 and other.shape.tolist() == [2, 3]
    assert other.item_scale.tolist() == [0.25, 1.0] and other.initial_weight is None
    # What is done to the layer later leaves the rows alone.
    with torch.no_grad():
        other.weight.zero_()
    assert (rows.values != 0).all()


def test_rows_of_another_number_of_items_are_refused():
    with pytest.raises(ValueError, match="the layer has 2 items, but there are 3 rows"):
        layer_with(torch.ones(2, 2)).load_csr(SparseRows.of_dense(torch.eye(3)))


def test_a_state_without_the_layer_is_refused_by_the_name_of_what_is_missing():
    with pytest.raises(KeyError, match="item_embedding.shape"):
        csr_of_state({}, "item_embedding.")


@given(
    users=st.lists(st.integers(0, 10**6), min_size=1, max_size=30),
    exponent=st.floats(0, 3),
)
def test_scales_rise_with_popularity_up_to_one(users, exponent):
    scales = popularity_scales(torch.tensor(users), exponent)
    assert scales.dtype == torch.float16 and (scales > 0).all() and scales.max() == 1
    expected = [max(((n + 10) / (max(users) + 10)) ** exponent, 2.0**-14) for n in users]
    torch.testing.assert_close(scales.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=0)
