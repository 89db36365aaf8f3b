"""How non-zeros are shared out among the items."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_sparse_elsa.core import allocate_nonzeros


def allocate(mean, shares, at_least=1, at_most=1000):
    return allocate_nonzeros(mean, torch.tensor(shares), at_least, torch.full((len(shares),), at_most)).tolist()


def test_worked_out_by_hand():
    assert allocate(4, [1.0, 2.0, 3.0, 2.0]) == [2, 4, 6, 4]
    # What the second item may not have goes to the others, in proportion.
    assert allocate(4, [1.0, 10.0, 2.0], at_most=6) == [2, 6, 4]
    # The least of 2 takes 2 from the others, who share the other 10.
    assert allocate(4, [0.0, 6.0, 4.0], at_least=2) == [2, 6, 4]
    # Of equal remainders the earlier is rounded up.
    assert allocate(2, [1.0, 3.0, 4.0, 4.0]) == [1, 2, 3, 2]
    assert allocate(3, [1.0, 1.0]) == [3, 3]


def test_less_than_the_least_is_shared_out_alike():
    assert allocate(1, [1.0, 100.0], at_least=2) == [1, 1]


@given(
    shares=st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=1, max_size=30),
    mean=st.integers(1, 40),
    at_least=st.integers(1, 4),
    at_most=st.integers(1, 64),
)
def test_the_total_is_kept_wherever_the_bounds_allow_it(shares, mean, at_least, at_most):
    nonzeros = allocate(mean, shares, at_least, at_most)
    least = min(at_least, mean, at_most)
    assert all(least <= number <= at_most for number in nonzeros)
    most_possible = sum(at_most if share > 0 else least for share in shares)
    assert sum(nonzeros) == max(least * len(shares), min(mean * len(shares), most_possible))
    # No item with a larger share has fewer.
    by_share = [number for _, number in sorted(zip(shares, nonzeros))]
    assert all(later >= earlier - 1 for earlier, later in zip(by_share, by_share[1:]))
