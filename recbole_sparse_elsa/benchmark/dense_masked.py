"""The baseline of the step benchmark: the dense masked computation, as plain as the formula."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def dense_masked_loss(
    weight: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    """Mean NMSE loss of a batch with dense item embeddings of which a mask keeps k entries a row.

    This is the method as the paper writes it (method page, sections 1 and 2; Vančura et al., WWW 2026), with every
    matrix dense and the gradient left to autograd. The loss is summed over the items, as in this package.

    Parameters
    ----------
    weight : torch.Tensor
        float32, shape ``(n_items, embedding_size)``.
    mask : torch.Tensor
        bool, same shape: the entries kept.
    rows : torch.Tensor
        float32, shape ``(n_users, n_items)``: 1 for each interaction, else 0.
    inputs : torch.Tensor
        float32, same shape: the rows after input dropout.
    """
    item_embeddings = F.normalize(weight * mask, dim=1)
    predictions = torch.relu(inputs @ item_embeddings @ item_embeddings.T - inputs)
    return (F.normalize(predictions, dim=1) - F.normalize(rows, dim=1)).square().sum(dim=1).mean()
