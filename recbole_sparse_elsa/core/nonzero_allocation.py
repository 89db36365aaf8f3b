"""Which items get how many non-zeros, at a given mean."""

import torch

#: Fewest non-zeros of an item where they are shared out by popularity: with one alone, items of the same latent
#: dimension cannot be told apart.
MIN_NONZEROS = 2


def popularity_shares(users_of_items: torch.Tensor, exponent: float) -> torch.Tensor:
    """What numbers of non-zeros are in proportion to: a power of each item's popularity.

    Parameters
    ----------
    users_of_items : torch.Tensor
        int64, shape ``(n_items,)``. An item without users would have no share at all; it counts as one with a single
        user.
    exponent : float
        At least 0, which gives every item the same share.

    Returns
    -------
    torch.Tensor
        float64, shape ``(n_items,)``.
    """
    return users_of_items.clamp(min=1).double() ** exponent


def allocate_nonzeros(mean: int, shares: torch.Tensor, at_least: int, at_most: torch.Tensor) -> torch.Tensor:
    """Share out non-zeros among the items in proportion to ``shares``, within bounds for each item.

    The total is exactly ``mean`` for every item together, unless the bounds allow no such total; what is beyond an
    item's bound goes to the others. Rounding gives the larger remainders the larger number, of equal ones the earlier.

    Parameters
    ----------
    mean : int
        Mean number of non-zeros per item embedding, at least 1.
    shares : torch.Tensor
        Float, shape ``(n_items,)``, at least 0: what the numbers are in proportion to.
    at_least : int
        Fewest non-zeros of an item, at least 1; ``mean`` if that is less.
    at_most : torch.Tensor
        int64, shape ``(n_items,)``: most non-zeros of each item, at least 1.

    Returns
    -------
    torch.Tensor
        int64, shape ``(n_items,)``.
    """
    shares, at_most = shares.double(), at_most.double()
    least = at_most.clamp(max=min(at_least, mean))
    total = mean * len(shares)

    def within_bounds(factor):
        return torch.maximum(least, torch.minimum(at_most, factor * shares))

    # The factor of proportion, by bisection: the sum grows with it.
    low, high = 0.0, 1.0
    while within_bounds(high).sum() < total and (high * shares < at_most)[shares > 0].any():
        high *= 2
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if within_bounds(middle).sum() < total else (low, middle)
    exact = within_bounds(high)
    nonzeros = exact.floor()
    missing = round(exact.sum().item()) - int(nonzeros.sum())
    by_remainder = torch.argsort(exact - nonzeros, descending=True, stable=True)
    nonzeros[by_remainder[:missing]] += 1
    return nonzeros.long()
