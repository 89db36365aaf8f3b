"""The NMSE loss."""

import pytest
import torch

from recbole_sparse_elsa.core import nmse_loss


def test_value_worked_out_by_hand():
    # cos = 4 / 5 in the first row and 0 in the second: 2 (1 - cos) is 0.4 and 2.
    prediction = torch.tensor([[4.0, 3.0], [0.0, 7.0]])
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert nmse_loss(prediction, target).item() == pytest.approx((0.4 + 2.0) / 2)


def test_is_the_papers_loss_times_the_number_of_items():
    torch.manual_seed(1)
    prediction, target = torch.rand(6, 9), (torch.rand(6, 9) > 0.5).float()
    target[:, 0] = 1.0
    unit = [row / row.norm() for row in (*prediction, *target)]
    mean_squared_error = torch.stack([(y - x).square().mean() for y, x in zip(unit[:6], unit[6:])]).mean()
    torch.testing.assert_close(nmse_loss(prediction, target), 9 * mean_squared_error)


def test_ignores_the_scale_of_a_row():
    prediction, target = torch.rand(3, 5), torch.ones(3, 5)
    torch.testing.assert_close(nmse_loss(1000 * prediction, target), nmse_loss(prediction, 0.001 * target))


def test_a_prediction_of_zeros_costs_one_and_has_a_finite_gradient():
    hidden = torch.zeros(1, 4, requires_grad=True)
    loss = nmse_loss(torch.relu(hidden), torch.ones(1, 4))
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert hidden.grad.tolist() == [[0.0] * 4]


def test_half_precision_predictions_are_normalised_in_single_precision():
    torch.manual_seed(2)
    prediction, target = torch.rand(4, 3000), (torch.rand(4, 3000) > 0.9).float()
    half = prediction.bfloat16()
    torch.testing.assert_close(nmse_loss(half, target), nmse_loss(half.float(), target))
