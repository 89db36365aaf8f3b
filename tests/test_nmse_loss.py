"""The NMSE loss and its gradient, in both forms of the layer, against autograd on the formula written out densely."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_topk_embedding import batch_of, layer_with, random_rows

from recbole_sparse_elsa.core import UserBatch
from recbole_sparse_elsa.core.nmse_loss import nmse_loss_and_gradient_, sparse_nmse_loss


def naive_losses(embeddings, inputs, targets):
    """Method page, section 1, times the number of items, in the precision of ``embeddings``."""
    item_item = (embeddings @ embeddings.T) * (1 - torch.eye(len(embeddings), dtype=embeddings.dtype))
    losses = []
    for input_row, target in zip(inputs.to(embeddings), targets.to(embeddings)):
        prediction = torch.relu(input_row @ item_item)
        norm = prediction.square().sum().sqrt()
        unit = prediction / norm if norm > 0 else prediction
        losses.append((unit - target / target.square().sum().sqrt()).square().sum())
    return torch.stack(losses)


def dense_gradient(layer):
    """The gradient as an items x latent dimensions matrix."""
    if not layer.is_compact:
        return layer.weight.grad
    gradient = torch.zeros(layer.n_items, layer.embedding_size)
    gradient[layer._places().row_of_entry, layer.column_indices.long()] = layer.weight.grad
    return gradient


def test_value_worked_out_by_hand():
    # User 0: prediction (4, 3), target (1, 0): cos = 4 / 5. User 1: prediction (0, 7), target (1, 0): cos = 0.
    reconstruction = torch.tensor([[5.0, 3.0], [1.0, 7.0]])
    batch = batch_of([[1.0, 0.0], [1.0, 0.0]])
    assert nmse_loss_and_gradient_(reconstruction, batch).tolist() == pytest.approx([0.4, 2.0])


def test_a_prediction_of_zeros_costs_one_and_has_no_gradient():
    reconstruction = torch.tensor([[0.5, -1.0, 0.0]])
    assert nmse_loss_and_gradient_(reconstruction, batch_of([[1.0, 0.0, 0.0]])).tolist() == [1.0]
    assert reconstruction.tolist() == [[0.0, 0.0, 0.0]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_users=st.integers(1, 9),
    n_items=st.integers(2, 9),
    embedding_size=st.integers(2, 8),
    input_dropout=st.sampled_from([0.0, 0.5]),
    data=st.data(),
)
def test_loss_and_gradient_agree_with_the_dense_formula(seed, n_users, n_items, embedding_size, input_dropout, data):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_items, embedding_size, generator=generator)
    counts = torch.tensor([data.draw(st.integers(1, embedding_size)) for _ in range(n_items)])
    targets = random_rows(n_users, n_items, seed)
    torch.manual_seed(seed)
    batch = batch_of(targets, input_dropout=input_dropout)

    layer = layer_with(weight)
    layer.prune(counts)
    wide = layer.weight.detach().double().requires_grad_()
    embeddings = wide / wide.square().sum(dim=1, keepdim=True).sqrt()
    # Of a prediction that nearly cancels out, single precision has few digits left.
    norms = torch.relu(batch.rows() @ (layer() @ layer().T - torch.eye(n_items))).norm(dim=1)
    assume(all(norm < 1e-5 or norm > 0.05 for norm in norms.tolist()))
    expected = naive_losses(embeddings, batch.rows(), targets).mean()
    expected.backward()
    expected_gradient = torch.where(layer() != 0, wide.grad, 0.0)

    for form in ("dense", "compact"):
        if form == "compact":
            layer.compress()
        loss = layer.nmse_loss(batch)
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        torch.testing.assert_close(dense_gradient(layer).double(), expected_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("users_per_block", [1, 3, 4, 100])
def test_blocks_of_users_change_nothing(users_per_block):
    layer = layer_with(torch.randn(12, 8, generator=torch.Generator().manual_seed(3)))
    layer.prune(3)
    layer.compress()
    batch = batch_of(random_rows(10, 12))
    results = []
    for block in (10, users_per_block):
        layer.weight.grad = None
        loss = sparse_nmse_loss(layer._unit_values(), layer._places(), batch, block)
        loss.backward()
        results.append((loss, layer.weight.grad))
    torch.testing.assert_close(results[1], results[0])


def test_autocast_takes_the_large_products_in_half_precision_only():
    layer = layer_with(torch.randn(300, 32, generator=torch.Generator().manual_seed(4)))
    batch = batch_of(random_rows(50, 300))
    exact = layer.nmse_loss(batch)
    exact.backward()
    exact_gradient = layer.weight.grad
    layer.weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = layer.nmse_loss(batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    assert not torch.equal(layer.weight.grad, exact_gradient)
    cosine = torch.cosine_similarity(layer.weight.grad.flatten(), exact_gradient.flatten(), dim=0)
    assert cosine > 0.999


def test_input_dropout_keeps_every_interaction_as_target():
    torch.manual_seed(0)
    batch = batch_of(torch.ones(200, 20), input_dropout=0.75)
    assert isinstance(batch, UserBatch)
    assert set(batch.input_value.unique().tolist()) == {0.0, 4.0}
    assert (batch.input_value > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (batch.lengths == 20).all()
