"""A scale for the predictions of each item that follows from its popularity."""

import torch

# What an item is taken to have besides its users, so that a few more or fewer of them matter little.
_MORE_USERS = 10


def popularity_scales(users_of_items: torch.Tensor, exponent: float) -> torch.Tensor:
    """Scales in proportion to a power of the items' numbers of users, of which the most popular item has 1.

    Scores of ELSA are sums of cosines, which rare items reach as easily as popular ones: two items with one user, the
    same, have a cosine near 1. The conditional probabilities of EASE, and with them its scores, are larger for popular
    items. With few interactions an item, as in most catalogues, the latter ranks much better.

    Parameters
    ----------
    users_of_items : torch.Tensor
        Integers, at least 0, shape ``(n_items,)``: the number of users who have each item.
    exponent : float
        Power of the number of users, plus 10; at least 0, which gives every item the scale 1.

    Returns
    -------
    torch.Tensor
        float16, shape ``(n_items,)``, in (0, 1].
    """
    users = users_of_items.double() + _MORE_USERS
    # The smallest normal number: an item whose scale is rounded to 0 could not be recommended at all.
    return (users / users.max()).pow(exponent).clamp(min=torch.finfo(torch.float16).tiny).half()
