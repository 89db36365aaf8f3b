"""The top-k embedding layer, against values worked out by hand and against a naive row-by-row computation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.core import TopKEmbedding

torch.manual_seed(0)


def layer_with(weight):
    weight = torch.as_tensor(weight, dtype=torch.float32)
    layer = TopKEmbedding(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_keeps_the_largest_magnitudes_with_their_signs_and_scales_rows_to_norm_one():
    layer = layer_with([[3.0, -4.0, 1.0, 2.0], [0.5, 0.1, -0.2, -0.3]])
    layer.prune(2)
    torch.testing.assert_close(layer()[0], torch.tensor([0.6, -0.8, 0.0, 0.0]))
    torch.testing.assert_close(layer()[1], torch.tensor([0.5, 0.0, 0.0, -0.3]) / 0.34**0.5)
    assert layer.nonzeros().tolist() == [2, 2]


def test_rows_may_keep_different_numbers_of_nonzeros():
    layer = layer_with([[3.0, -4.0, 1.0], [0.5, 0.1, -0.2], [1.0, 2.0, 3.0]])
    layer.prune(torch.tensor([1, 2, 3]))
    assert (layer() != 0).tolist() == [[False, True, False], [True, False, True], [True, True, True]]
    assert layer.bytes_per_item() == 8 * 2


def test_gradient_reaches_only_the_support():
    layer = layer_with(torch.randn(5, 8))
    layer.prune(3)
    layer.reconstruct(torch.rand(4, 5)).square().sum().backward()
    assert ((layer.weight.grad != 0) == layer.support).all()


def test_a_pruned_entry_does_not_come_back():
    layer = layer_with([[4.0, 3.0, 2.0, 1.0]])
    layer.prune(3)
    with torch.no_grad():
        layer.weight[0] = torch.tensor([0.1, 3.0, 2.0, 100.0])
    layer.prune(2)
    assert (layer() != 0).tolist() == [[False, True, True, False]]
    with pytest.raises(ValueError, match="between 1 and its present number of non-zeros, 2"):
        layer.prune(3)


def test_restart_returns_the_kept_entries_to_their_initial_values():
    layer = layer_with([[1.0, 2.0, 3.0]])
    with pytest.raises(RuntimeError, match="keep_initial_weight"):
        layer.prune(2, restart=True)
    layer.keep_initial_weight()
    parameter = layer.weight
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[9.0, -8.0, 0.5]]))
    layer.prune(2, restart=True)
    assert layer.weight is parameter
    assert layer.weight.tolist() == [[1.0, 2.0, 0.0]]


def test_pruning_to_the_whole_row_changes_nothing():
    layer = layer_with(torch.randn(3, 4))
    before = layer().clone()
    layer.prune(4)
    assert layer.support is None and torch.equal(layer(), before)
    assert layer.bytes_per_item() == 4 * 4


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("with_initial_weight", [False, True])
def test_state_dict_carries_the_support_into_a_layer_in_any_state(pruned, with_initial_weight):
    saved = layer_with(torch.randn(4, 6))
    if with_initial_weight:
        saved.keep_initial_weight()
    if pruned:
        saved.prune(torch.tensor([1, 2, 3, 4]))
    for loaded in (TopKEmbedding(4, 6), TopKEmbedding(4, 6)):
        loaded.load_state_dict(saved.state_dict())
        assert torch.equal(loaded(), saved())
        assert torch.equal(loaded.nonzeros(), saved.nonzeros())
        assert (loaded.initial_weight is None) == (not with_initial_weight)
        loaded.keep_initial_weight()
        loaded.prune(1)
        loaded.load_state_dict(saved.state_dict())
        assert torch.equal(loaded(), saved())
        assert (loaded.initial_weight is None) == (not with_initial_weight)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n_items=st.integers(1, 6), embedding_size=st.integers(1, 8), data=st.data())
def test_agrees_with_a_naive_row_by_row_computation(seed, n_items, embedding_size, data):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_items, embedding_size, generator=generator)
    counts = data.draw(st.lists(st.integers(1, embedding_size), min_size=n_items, max_size=n_items))
    layer = layer_with(weight)
    layer.prune(torch.tensor(counts))
    for row, count, embedding in zip(weight.tolist(), counts, layer().tolist()):
        kept = sorted(range(embedding_size), key=lambda column: -abs(row[column]))[:count]
        norm = sum(row[column] ** 2 for column in kept) ** 0.5
        expected = [row[column] / norm if column in kept else 0.0 for column in range(embedding_size)]
        assert embedding == pytest.approx(expected, abs=1e-6)
    users = torch.rand(3, n_items, generator=generator)
    torch.testing.assert_close(layer.reconstruct(users), users @ layer() @ layer().T)
    torch.testing.assert_close(layer.encode(users), users @ layer())
    items = torch.randint(n_items, (4,), generator=generator)
    torch.testing.assert_close(layer.rows(items), layer()[items])
