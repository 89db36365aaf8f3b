"""The loss of ELSA and Sparse ELSA."""

import torch
from torch.nn import functional as F


def nmse_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Normalised squared error between predicted and observed user rows.

    Both rows are scaled to L2 norm 1; the squared distance of each pair is summed over the items and averaged over the
    users, which equals ``2 (1 - cos(prediction, target))``. ELSA's NMSE (method page, section 1; Vančura et al.,
    RecSys 2022) averages over the items too. That factor ``1 / n_items`` only rescales the gradient, so it is left out
    here: the size of the gradient, and with it the meaning of an optimiser's epsilon, does not depend on the catalogue.

    Parameters
    ----------
    prediction : torch.Tensor
        Predicted rows, float, shape ``(n_users, n_items)``. A row of zeros stays one: its squared distance is 1.
    target : torch.Tensor
        Observed rows, float, same shape.

    Returns
    -------
    torch.Tensor
        Scalar in [0, 4], float32 at least (half precision inputs are normalised in float32).
    """
    # Under autocast the rows arrive in half precision, in which the squares of a long row lose what tells users apart.
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    difference = F.normalize(prediction.to(dtype), dim=1) - F.normalize(target.to(dtype), dim=1)
    return difference.square().sum(dim=1).mean()
