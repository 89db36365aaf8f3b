"""The NMSE loss and its gradient, in both forms of the layer, against autograd on the formula written out densely."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_topk_embedding import batch_of, layer_with, random_rows
from torch.nn import functional as F

from recbole_sparse_elsa.core import UserBatch
from recbole_sparse_elsa.core.nmse_loss import InputNoise, nmse_loss_and_gradient_, sparse_nmse_loss
from recbole_sparse_elsa.core.topk_embedding import _unit_values


def naive_losses(embeddings, inputs, targets, scale=1, scales_input=False, noise_variance=0.0):
    """Method page, section 1, times the number of items, in the precision of ``embeddings``.

    A prediction of norm ``n`` is divided by ``sqrt(n² + noise)``, and counts as one of norm 1 then: the loss is
    ``2 - 2 cos``.
    """
    item_item = (embeddings @ embeddings.T) * (1 - torch.eye(len(embeddings), dtype=embeddings.dtype))
    losses = []
    for input_row, target in zip(inputs.to(embeddings), targets.to(embeddings)):
        prediction = torch.relu((input_row / scale if scales_input else input_row) @ item_item) * scale
        norm = prediction.square().sum().sqrt()
        if noise_variance and norm > 1e-9:
            noise = noise_variance * (item_item * scale).square().sum()
            product = (prediction * target).sum() / target.square().sum().sqrt()
            losses.append(2 - 2 * product / (norm.square() + noise).sqrt())
            continue
        unit = prediction / norm if norm > 1e-9 else 0 * prediction  # below that it is rounding's
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
    is_scaled=st.booleans(),
    scales_input=st.booleans(),
    noise_variance=st.sampled_from([0.0, 0.01, 2.0]),
    data=st.data(),
)
def test_loss_and_gradient_agree_with_the_dense_formula(
    seed, n_users, n_items, embedding_size, input_dropout, is_scaled, scales_input, noise_variance, data
):
    generator = torch.Generator().manual_seed(seed)
    # Rows of a norm between 1 and 2: the gradient of a row, and with it what rounding adds, is divided by its norm.
    weight = F.normalize(torch.randn(n_items, embedding_size, generator=generator), dim=1)
    weight *= 1 + torch.rand(n_items, 1, generator=generator)
    counts = torch.tensor([data.draw(st.integers(1, embedding_size)) for _ in range(n_items)])
    targets = random_rows(n_users, n_items, seed)
    torch.manual_seed(seed)
    batch = batch_of(targets).drop_input(input_dropout)

    scale = 0.5 + 0.5 * torch.rand(n_items, generator=generator).half() if is_scaled else None
    layer = layer_with(weight, item_scale=scale, scales_input=scales_input)
    layer.prune(counts)
    wide = layer.weight.detach().double().requires_grad_()
    embeddings = wide / wide.square().sum(dim=1, keepdim=True).sqrt()
    # Of a prediction that nearly cancels out, single precision has few digits left.
    norms = layer.predict(batch).norm(dim=1)
    assume(all(norm < 1e-5 or norm > 0.25 for norm in norms.tolist()))
    wide_scale = scale.double() if is_scaled else 1
    expected = naive_losses(embeddings, batch.rows(), targets, wide_scale, scales_input, noise_variance).mean()
    expected.backward()
    expected_gradient = torch.where(layer() != 0, wide.grad, 0.0)

    for form in ("dense", "compact"):
        if form == "compact":
            layer.compress()
        loss = layer.nmse_loss(batch, noise_variance=noise_variance)
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
        loss = sparse_nmse_loss(_unit_values(layer.weight, layer._places()), layer._places(), batch, block)
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
    batch = batch_of(torch.ones(200, 20)).drop_input(0.75)
    assert isinstance(batch, UserBatch)
    assert set(batch.input_value.unique().tolist()) == {0.0, 4.0}
    assert (batch.input_value > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (batch.lengths == 20).all()


@pytest.mark.parametrize("compact", [False, True])
def test_a_sample_of_all_items_gives_the_whole_loss(compact):
    layer = layer_with(torch.rand(30, 8, generator=torch.Generator().manual_seed(5)) - 0.3)
    layer.prune(3)
    if compact:
        layer.compress()
    batch = batch_of(random_rows(4, 30))
    results = []
    for max_output in (None, 30, 29):
        layer.weight.grad = None
        loss = layer.nmse_loss(batch, max_output)
        loss.backward()
        results.append((loss, layer.weight.grad))
    torch.testing.assert_close(results[1], results[0])
    # One item is left out, and those drawn stand for it.
    assert results[2][0].item() == pytest.approx(results[0][0].item(), rel=0.1)


@pytest.mark.parametrize("compact", [False, True])
def test_the_sampled_loss_agrees_with_weighting_the_drawn_items(compact):
    layer = layer_with(torch.rand(40, 6, generator=torch.Generator().manual_seed(6)) - 0.3)
    layer.prune(4)
    if compact:
        layer.compress()
    batch = batch_of([[1.0, 1.0, 1.0] + [0.0] * 37, [0.0, 1.0, 0.0, 1.0] + [0.0] * 36])
    torch.manual_seed(0)
    items, weights, _ = batch.sample_items(12)
    assert items[:4].tolist() == [0, 1, 2, 3] and len(set(items.tolist())) == 12
    assert weights.tolist() == [1.0] * 4 + [36 / 8] * 8

    wide = layer().detach().double().requires_grad_()
    prediction = torch.relu(batch.rows().double() @ (wide @ wide.T) - batch.rows().double())[:, items]
    norm = (weights * prediction.square()).sum(dim=1).sqrt()
    expected = (2 - 2 * (prediction * batch.rows()[:, items]).sum(dim=1) / norm / batch.lengths.sqrt()).mean()
    (expected_gradient,) = torch.autograd.grad(expected, wide)

    torch.manual_seed(0)
    loss = layer.nmse_loss(batch, max_output=12)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    # Through the scaling of the rows to norm 1, where the layer has it too.
    places = layer() != 0
    raw = layer().detach().double().requires_grad_()
    (raw / raw.norm(dim=1, keepdim=True)).backward(expected_gradient)
    weight = dense_weight(layer)
    loss.backward()
    norms = weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(
        dense_gradient(layer).double(), torch.where(places, raw.grad / norms, 0.0), rtol=1e-4, atol=1e-5
    )


def dense_weight(layer):
    weight = layer.weight.detach()
    if layer.is_compact:
        weight = torch.zeros(layer.n_items, layer.embedding_size)
        weight[layer._places().row_of_entry, layer.column_indices.long()] = layer.weight.detach()
    return weight


def test_the_squared_norm_is_estimated_without_bias():
    layer = layer_with(torch.rand(60, 6, generator=torch.Generator().manual_seed(7)))
    batch = batch_of([[1.0] * 3 + [0.0] * 57])
    prediction = torch.relu(layer.reconstruct(batch) - batch.rows())[0]
    torch.manual_seed(1)
    estimates = []
    for _ in range(2000):
        items, weights, _ = batch.sample_items(10)
        estimates.append((weights * prediction[items].square()).sum().item())
    mean, deviation = torch.tensor(estimates).mean().item(), torch.tensor(estimates).std().item()
    assert mean == pytest.approx(prediction.square().sum().item(), abs=4 * deviation / 2000**0.5)


def test_max_output_below_the_items_of_a_batch_is_raised_with_a_warning():
    layer = layer_with(torch.rand(20, 4))
    batch = batch_of(torch.ones(2, 20) * (torch.arange(20) < 8))
    with pytest.warns(UserWarning, match="max_output is 5, but batches have more items"):
        loss = layer.nmse_loss(batch, max_output=5)
    assert loss.isfinite()


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("max_output", [None, 40])
def test_what_noise_adds_is_estimated_without_bias(compact, max_output):
    generator = torch.Generator().manual_seed(8)
    scale = (0.5 + 0.5 * torch.rand(90, generator=generator)).half()
    layer = layer_with(torch.rand(90, 6, generator=generator) - 0.3, item_scale=scale)
    layer.prune(4)
    if compact:
        layer.compress()
    embeddings, scale = layer().detach(), scale.float()
    expected = ((embeddings @ embeddings.T).fill_diagonal_(0) * scale).square().sum().item()
    batch = batch_of([[1.0] * 3 + [0.0] * 87])
    torch.manual_seed(1)
    estimates = []
    for _ in range(1000):
        items, weights = torch.arange(90), None
        if max_output is not None:
            items, weights, _ = batch.sample_items(max_output)
        noise = InputNoise(1.0, len(items), torch.device("cpu"), weights)
        rows = embeddings[items] @ embeddings[items][noise.items].T
        noise.set_rows(rows * scale[items][:, None])
        estimates.append(noise.square.item())
    mean, deviation = torch.tensor(estimates).mean().item(), torch.tensor(estimates).std().item()
    # Of pairs of drawn items each item counts by its own weight, which makes the estimate a little too large.
    tolerance = 0.0 if max_output is None else 0.02
    assert mean == pytest.approx(expected, abs=4 * deviation / 1000**0.5 + tolerance * expected)


@pytest.mark.parametrize("compact", [False, True])
def test_the_gradient_is_that_of_the_loss_with_a_sample_of_rows_and_of_items(compact):
    layer = layer_with(torch.rand(90, 6, generator=torch.Generator().manual_seed(9)) - 0.3)
    layer.prune(4)
    if compact:
        layer.compress()
    batch = batch_of(random_rows(5, 90) * (torch.arange(90) < 20))

    def loss():
        torch.manual_seed(3)
        return layer.nmse_loss(batch, max_output=80, noise_variance=0.05)

    loss().backward()
    gradient = layer.weight.grad
    slope, step = gradient.square().sum().item(), 1e-2
    with torch.no_grad():
        layer.weight += step * gradient
        above = loss().item()
        layer.weight -= 2 * step * gradient
        below = loss().item()
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=0.01)
