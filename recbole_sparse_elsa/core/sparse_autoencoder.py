"""A top-k sparse autoencoder: dense item embeddings turned into codes with few non-zeros."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


class SparseAutoencoder(nn.Module):
    """Encodes an embedding as a code with k non-zeros, and decodes it (method page, section 5; WWW 2026, baselines).

    The code keeps the k entries of largest magnitude, with their signs, of an affine map of the embedding. The decoder
    adds up the code's non-zeros times rows of norm 1. It starts with random directions, the encoder as its transpose.

    Parameters
    ----------
    embedding_size : int
        Width of the embeddings.
    code_size : int
        Width of the codes.
    generator : torch.Generator
        For the random directions, on the CPU.
    """

    def __init__(self, embedding_size: int, code_size: int, generator: torch.Generator) -> None:
        super().__init__()
        directions = F.normalize(torch.randn(code_size, embedding_size, generator=generator), dim=1)
        self.encoder = nn.Parameter(directions.T.clone(memory_format=torch.contiguous_format))
        self.bias = nn.Parameter(torch.zeros(code_size))
        self.decoder = nn.Parameter(directions)

    def encode(self, embeddings: torch.Tensor, nonzeros: int | torch.Tensor) -> torch.Tensor:
        """Codes of embeddings.

        Parameters
        ----------
        embeddings : torch.Tensor
            float32, shape ``(n_items, embedding_size)``.
        nonzeros : int or torch.Tensor
            Number of non-zeros of every code, or (int64, shape ``(n_items,)``) of each; in [1, code_size].

        Returns
        -------
        torch.Tensor
            float32, shape ``(n_items, code_size)``.
        """
        return _keep_largest(self._dense_codes(embeddings), nonzeros)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings (float32, ``(n_items, embedding_size)``) that codes (``(n_items, code_size)``) stand for."""
        return codes @ F.normalize(self.decoder, dim=1)

    def loss(self, embeddings: torch.Tensor, nonzeros: int | torch.Tensor) -> torch.Tensor:
        """Mean cosine distance of decoded and original embeddings at k non-zeros, plus 1/8 of that at 4k.

        Parameters
        ----------
        embeddings : torch.Tensor
            float32, shape ``(n_items, embedding_size)``.
        nonzeros : int or torch.Tensor
            The k of every embedding, or (int64, shape ``(n_items,)``) of each; in [1, code_size]. The second part uses
            code_size non-zeros where 4k are more than that.

        Returns
        -------
        torch.Tensor
            Scalar float32.
        """
        dense_codes = self._dense_codes(embeddings)
        at_k, at_4k = (
            (1 - F.cosine_similarity(embeddings, self.decode(_keep_largest(dense_codes, nonzeros)), dim=1)).mean()
            for nonzeros in (nonzeros, (4 * torch.as_tensor(nonzeros)).clamp(max=dense_codes.shape[1]))
        )
        return at_k + at_4k / 8

    def fit(
        self,
        embeddings: torch.Tensor,
        nonzeros: int | torch.Tensor,
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        generator: torch.Generator,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> list[float]:
        """Fit encoder and decoder to embeddings with Adam, on batches of items in random order.

        Parameters
        ----------
        embeddings : torch.Tensor
            float32, shape ``(n_items, embedding_size)``, on the device of the autoencoder, without gradients.
        nonzeros : int or torch.Tensor
            As of `loss`.
        epochs : int
            At least 1.
        batch_size : int
            Items a step, at least 1.
        learning_rate : float
            Of Adam, above 0.
        generator : torch.Generator
            For the order of the items, on the CPU.
        on_epoch : callable, optional
            Called after each epoch with its number, from 0, and its mean loss.

        Returns
        -------
        list of float
            The mean loss of each epoch.
        """
        optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)
        nonzeros = torch.as_tensor(nonzeros, device=embeddings.device).expand(len(embeddings))
        losses = []
        for epoch in range(epochs):
            total = 0.0
            order = torch.randperm(len(embeddings), generator=generator).to(embeddings.device)
            for items in order.split(batch_size):
                loss = self.loss(embeddings[items], nonzeros[items])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(items)
            losses.append(total / len(embeddings))
            if on_epoch is not None:
                on_epoch(epoch, losses[-1])
        return losses

    def _dense_codes(self, embeddings):
        return embeddings @ self.encoder + self.bias


def _keep_largest(dense_codes, nonzeros):
    nonzeros = torch.as_tensor(nonzeros, device=dense_codes.device).expand(len(dense_codes))
    places = dense_codes.detach().abs().topk(int(nonzeros.max()), dim=1).indices
    kept = torch.arange(places.shape[1], device=places.device) < nonzeros[:, None]
    return torch.zeros_like(dense_codes).scatter(1, places, dense_codes.gather(1, places) * kept)
