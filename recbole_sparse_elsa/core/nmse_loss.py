"""The loss of ELSA and Sparse ELSA, with its gradient, on one users x items matrix in all."""

from __future__ import annotations

import torch

from recbole_sparse_elsa.core.sparse_products import Support
from recbole_sparse_elsa.core.user_histories import UserBatch

# Rows of the item-item matrix of which its sum of squares is estimated, drawn again for each batch.
_NOISE_ROWS = 64


class InputNoise:
    """What noise in the input adds to the squared norm of every prediction, on average, and the gradient of that.

    Noise of variance σ² in every item of the input, each for itself, adds ``σ² ‖(Â Âᵀ - I) diag(s)‖²`` to the squared
    norm of a prediction before its relu. To the cosine this is what a ridge penalty is to a squared error (EASE's λ;
    Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020). The sum is estimated, without bias,
    from a sample of the rows.

    Parameters
    ----------
    variance : float
        σ², above 0.
    n_items : int
        Number of items over which the loss is taken.
    device : torch.device
        Of the tensors.
    item_weights : torch.Tensor, optional
        See `nmse_loss_and_gradient_`.

    Attributes
    ----------
    items : torch.Tensor
        int64, shape ``(n_rows,)``: the items whose rows are taken.
    square : torch.Tensor
        Scalar float32: what is added to the squared norm of every prediction.
    derivative : torch.Tensor
        Scalar float32: the derivative of the loss, summed over the users, with respect to ``square``.
    """

    square: torch.Tensor
    derivative: torch.Tensor

    def __init__(
        self, variance: float, n_items: int, device: torch.device, item_weights: torch.Tensor | None = None
    ) -> None:
        is_sampled = n_items > _NOISE_ROWS
        # With replacement: a permutation of the whole catalogue would take as long as a step.
        self.items = (
            torch.randint(n_items, (_NOISE_ROWS,), device=device)
            if is_sampled
            else torch.arange(n_items, device=device)
        )
        self._at = torch.arange(len(self.items), device=device)
        self._factor = variance * n_items / len(self.items)
        self._n_items, self._item_weights = n_items, item_weights

    def inputs(self) -> torch.Tensor:
        """A user for each row, whose input is its item: float32, shape ``(n_items, n_rows)``."""
        inputs = torch.zeros(self._n_items, len(self.items), device=self.items.device)
        inputs[self.items, self._at] = 1
        return inputs

    def set_rows(self, rows: torch.Tensor) -> None:
        """Take the rows of ``Â Âᵀ diag(s)`` (float, shape ``(n_items, n_rows)``, transposed), which are overwritten."""
        rows[self.items, self._at] = 0
        self._weighted_rows = rows
        if self._item_weights is not None:
            self._weighted_rows = rows * self._item_weights[:, None].to(rows) * self._item_weights[self.items].to(rows)
        self.square = self._factor * (rows * self._weighted_rows).sum(dtype=torch.float32)
        self.derivative = torch.zeros_like(self.square)

    def gradient_of_rows(self) -> torch.Tensor:
        """The gradient of the loss, summed over the users, with respect to the rows."""
        return self._weighted_rows.mul_(2 * self._factor * self.derivative)


def nmse_loss_and_gradient_(
    reconstruction: torch.Tensor,
    batch: UserBatch,
    item_weights: torch.Tensor | None = None,
    item_scale: torch.Tensor | None = None,
    noise: InputNoise | None = None,
) -> torch.Tensor:
    """Normalised squared error of a batch of users, and its gradient in place of the reconstruction.

    The prediction ``ŷ = relu(x̃ Â Âᵀ - x̃) s`` of a user, with a scale ``s`` of each item or none, is compared with all
    of the user's interactions ``x``: both rows are scaled to L2 norm 1, and the squared distance is summed over the
    items, which equals ``2 (1 - cos(ŷ, x))``, or 1 if the prediction is zero. ELSA's NMSE (method page, section 1;
    Vančura et al., RecSys 2022) has no such scale, and averages over the items too. The factor ``1 / n_items``
    only rescales the gradient, so it is left out here: the size of the gradient, and with it the meaning of an
    optimiser's epsilon, does not depend on the catalogue.

    Parameters
    ----------
    reconstruction : torch.Tensor
        ``X̃ Â Âᵀ``, each column times its item's scale: float, shape ``(n_users, n_items)``, any strides. Overwritten by
        the gradient, with respect to it, of the loss summed over the users.
    batch : UserBatch
        The users, each with at least one interaction.
    item_weights : torch.Tensor, optional
        float32, shape ``(n_items,)``: how many items each one stands for, if the items are a sample of the catalogue
        (see `UserBatch.sample_items`); 1 for those of the batch. The squared norm of a prediction, the only place where
        other items matter, is then estimated without bias.
    item_scale : torch.Tensor, optional
        float32, shape ``(n_items,)``: the scale of each item, above 0.
    noise : InputNoise, optional
        Its square is added to that of the norm of each prediction in the cosine, and its derivative gets this batch's.

    Returns
    -------
    torch.Tensor
        float32, shape ``(n_users,)``: the loss of each user, in [0, 2], times the user's weight in the batch.
    """
    places = (batch.user_index, batch.item_index)
    # What the input holds, and the interactions, are few: nothing users x items is needed for them.
    own_part = batch.input_value if item_scale is None else batch.input_value * item_scale[batch.item_index]
    at_interactions = (reconstruction[places] - own_part.to(reconstruction.dtype)).relu_()
    reconstruction.relu_()
    reconstruction[places] = at_interactions
    if item_weights is None:
        norm = torch.linalg.vector_norm(reconstruction, dim=1, dtype=torch.float32)
    else:
        # As (sqrt(weight) y)², in place; the gradient below is with respect to y, and needs the other root too.
        reconstruction.mul_(item_weights.sqrt().to(reconstruction.dtype))
        norm = torch.linalg.vector_norm(reconstruction, dim=1, dtype=torch.float32)
        reconstruction.mul_(item_weights.sqrt().to(reconstruction.dtype))
    # A user whose items are unlike all others is predicted nothing, but for rounding, which scaling would blow up.
    input_norm = torch.zeros_like(norm).index_add_(0, batch.user_index, batch.input_value.square()).sqrt()
    is_predicted = norm > 16 * torch.finfo(reconstruction.dtype).eps * input_norm
    if noise is not None:
        norm = (norm.square() + noise.square).sqrt()
    inverse_norm = torch.where(is_predicted, 1 / norm, 0.0)
    inverse_target_norm = batch.lengths.rsqrt()
    product = torch.zeros_like(norm).index_add_(0, batch.user_index, at_interactions.float())
    cosine = product * inverse_norm * inverse_target_norm

    # d(-2 cos)/dŷ = 2 cos ŷ / |ŷ|² - 2 x / (|ŷ| |x|), where ŷ > 0; the first part is zero elsewhere by itself.
    weights = 1.0 if batch.weights is None else batch.weights
    if noise is not None:
        noise.derivative += (weights * cosine * inverse_norm.square()).sum()
    reconstruction.mul_((2 * weights * cosine * inverse_norm.square()).to(reconstruction.dtype)[:, None])
    towards_target = (2 * weights * inverse_norm * inverse_target_norm)[batch.user_index].to(reconstruction.dtype)
    reconstruction[places] -= towards_target * (at_interactions > 0)
    return weights * (1 + is_predicted - 2 * cosine)


def dense_nmse_loss(
    weight: torch.Tensor,
    support: torch.Tensor | None,
    batch: UserBatch,
    item_weights: torch.Tensor | None = None,
    item_scale: torch.Tensor | None = None,
    noise_variance: float = 0.0,
) -> torch.Tensor:
    """Mean NMSE loss of a batch under item embeddings that are stored densely.

    Parameters
    ----------
    weight : torch.Tensor
        ``A``: float32, shape ``(n_items, embedding_size)``, 0 outside of the support. The products use its rows scaled
        to L2 norm 1.
    support : torch.Tensor or None
        bool, same shape: the entries that get a gradient; None for all.
    batch : UserBatch
        The users, each with at least one interaction.
    item_weights, item_scale : torch.Tensor, optional
        See `nmse_loss_and_gradient_`.
    noise_variance : float
        Of noise in the input, see `InputNoise`; 0 for none.

    Returns
    -------
    torch.Tensor
        Scalar float32, differentiable with respect to ``weight``. Under autocast the products are taken in its
        precision, norms and sums in float32.
    """
    device = weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype

    def loss_and_gradient(weight):
        norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp_(min=1e-12)
        unit_rows = weight / norms
        factors = unit_rows.to(dtype)
        # The scale goes to the factor by items: nothing users x items is multiplied by it.
        scaled = factors if item_scale is None else factors * item_scale[:, None].to(dtype)
        user_vectors = batch.sparse_rows() @ factors
        # Taken transposed: of two matrices by rows, MKL is up to 1.4 times slower with the larger one transposed.
        gradient_of_reconstruction = (scaled @ user_vectors.T).T
        noise = None
        if noise_variance:
            noise = InputNoise(noise_variance, len(factors), factors.device, item_weights)
            noise.set_rows(scaled @ factors[noise.items].T)
        losses = nmse_loss_and_gradient_(gradient_of_reconstruction, batch, item_weights, item_scale, noise)
        gradient_of_vectors = gradient_of_reconstruction @ scaled
        gradient = gradient_of_reconstruction.T @ user_vectors
        if noise is not None:
            gradient_of_rows = noise.gradient_of_rows()
            gradient += gradient_of_rows @ factors[noise.items]
        if item_scale is not None:
            gradient *= item_scale[:, None].to(dtype)
        gradient += batch.sparse_columns() @ gradient_of_vectors
        if noise is not None:
            gradient.index_add_(0, noise.items, gradient_of_rows.T @ scaled)
        # Through the scaling to norm 1, in place: matrices of this size are dear to allocate.
        gradient = gradient.to(weight.dtype)
        along_rows = torch.einsum("ij,ij->i", gradient, unit_rows)
        gradient.addcmul_(unit_rows, along_rows[:, None], value=-1).div_(norms * batch.n_users)
        if support is not None:
            gradient.mul_(support)
        return losses.mean(), gradient

    with torch.autocast(device, enabled=False):
        return _LossWithGradient.apply(weight, loss_and_gradient)


def sparse_nmse_loss(
    values: torch.Tensor,
    support: Support,
    batch: UserBatch,
    users_per_block: int,
    item_weights: torch.Tensor | None = None,
    item_scale: torch.Tensor | None = None,
    noise_variance: float = 0.0,
) -> torch.Tensor:
    """Mean NMSE loss of a batch under sparse item embeddings, at a cost that follows their non-zeros.

    Parameters
    ----------
    values : torch.Tensor
        The non-zeros of ``Â``: float32, shape ``(n_nonzeros,)``.
    support : Support
        Their places.
    batch : UserBatch
        The users, each with at least one interaction.
    users_per_block : int
        Users whose predictions are held at a time.
    item_weights, item_scale : torch.Tensor, optional
        See `nmse_loss_and_gradient_`.
    noise_variance : float
        Of noise in the input, see `InputNoise`; 0 for none.

    Returns
    -------
    torch.Tensor
        Scalar float32, differentiable with respect to ``values``.
    """

    def loss_and_gradient(values):
        scale = None if item_scale is None else item_scale[support.row_of_entry]
        scaled_values = values if scale is None else values * scale
        transposed = support.transposed_matrix(values)
        scaled = support.matrix(scaled_values)
        transposed_scaled = transposed if scale is None else support.transposed_matrix(scaled_values)
        loss, gradient = values.new_zeros(()), torch.zeros_like(values)

        def add_gradient(inputs, user_vectors, gradient_of_reconstruction):
            towards_reconstruction = support.sampled_product(gradient_of_reconstruction, user_vectors)
            gradient.add_(towards_reconstruction if scale is None else towards_reconstruction * scale)
            gradient.add_(support.sampled_product(inputs, transposed_scaled @ gradient_of_reconstruction))

        noise = None
        if noise_variance:
            noise = InputNoise(noise_variance, support.n_items, values.device, item_weights)
            noise_inputs = noise.inputs()
            noise_vectors = transposed @ noise_inputs
            noise.set_rows(scaled @ noise_vectors)
        for block in batch.split(users_per_block):
            inputs = block.columns()
            user_vectors = transposed @ inputs
            gradient_of_reconstruction = scaled @ user_vectors
            loss += nmse_loss_and_gradient_(gradient_of_reconstruction.T, block, item_weights, item_scale, noise).sum()
            add_gradient(inputs, user_vectors, gradient_of_reconstruction)
        if noise is not None:
            add_gradient(noise_inputs, noise_vectors, noise.gradient_of_rows())
        return loss / batch.n_users, gradient.div_(batch.n_users)

    with torch.autocast(values.device.type, enabled=False):
        return _LossWithGradient.apply(values, loss_and_gradient)


class _LossWithGradient(torch.autograd.Function):
    """A loss that is computed together with its gradient, so that nothing large outlives the forward pass.

    The gradient is handed on by the first backward pass, without a copy; there is no second one.
    """

    @staticmethod
    def forward(ctx, parameters, loss_and_gradient):
        loss, ctx.gradient = loss_and_gradient(parameters)
        return loss

    @staticmethod
    def backward(ctx, gradient_of_output):
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(gradient_of_output), None
