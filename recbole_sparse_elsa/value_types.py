"""The types in which the values of item embeddings are stored: one table, one way of rounding, one way of counting.

Everything here is numpy, so that an index can be used without torch; `in_steps` works on torch tensors, too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ValueType:
    """A type of values.

    Attributes
    ----------
    name : str
        What options call it.
    bits : int
        Size of a value in a file.
    memory : type
        The numpy type that holds a value in memory.
    steps : int or None
        Of how many equal steps the largest magnitude of a row is; None if the type is not one of equal steps.
    """

    name: str
    bits: int
    memory: type
    steps: int | None = None


#: The types by name, the largest first.
VALUE_TYPES = {
    value_type.name: value_type
    for value_type in (
        ValueType("float32", 32, np.float32),
        ValueType("float16", 16, np.float16),
        ValueType("int8", 8, np.int8, steps=127),
        ValueType("int4", 4, np.int8, steps=7),
    )
}


def in_steps(values: Any, largest: Any, steps: int) -> Any:
    """Values as whole steps, of which the largest magnitude of their row is ``steps``; halves go to the even one.

    Parameters
    ----------
    values : numpy.ndarray or torch.Tensor
        Float, any shape.
    largest : numpy.ndarray or torch.Tensor
        The largest magnitude of each value's row, of a shape that fits ``values``.
    steps : int
        See `ValueType`.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        As ``values``: whole numbers from -steps to steps.
    """
    return (values * (steps / largest)).round()


def place_bits(nonzeros: np.ndarray, embedding_size: int) -> tuple[np.ndarray, np.ndarray]:
    """How many bits say in which columns the non-zeros of a row stand, in int4: an Elias-Fano list or a bitmap.

    Elias (Efficient storage and retrieval by content and address of static files, Journal of the ACM 1974): of k rising
    numbers below d the lower ``l = floor(log2(d / k))`` bits are written as they are, and the upper ones as a string in
    which the i-th number (from 0) sets the bit at its upper part plus i. Where one bit for each of the d columns is not
    more, that takes its place.

    Parameters
    ----------
    nonzeros : numpy.ndarray
        int64, any shape: the number of non-zeros k of each row, in [0, embedding_size].
    embedding_size : int
        Number of columns d.

    Returns
    -------
    lower_bits : numpy.ndarray
        int64, same shape: the lower bits of each place; 0 for a bitmap.
    upper_bits : numpy.ndarray
        int64, same shape: the length of the row's string of upper parts, or of its bitmap.
    """
    nonzeros = np.asarray(nonzeros, dtype=np.int64)
    exponents = np.frexp((embedding_size // np.maximum(nonzeros, 1)).astype(np.float64))[1].astype(np.int64)
    lower = np.maximum(exponents - 1, 0)
    upper = nonzeros + ((embedding_size - 1) >> lower)
    is_bitmap = nonzeros * lower + upper >= embedding_size
    upper = np.where(is_bitmap, embedding_size, upper) * (nonzeros > 0)
    return np.where(is_bitmap, 0, lower), upper
