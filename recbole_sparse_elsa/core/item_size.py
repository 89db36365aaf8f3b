"""The size of item embeddings, counted in the same way for every model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recbole_sparse_elsa.value_types import VALUE_TYPES, place_bits


def bytes_per_item(
    nonzeros: torch.Tensor | float, embedding_size: int, value_dtype: str = "float32", has_scale: bool = False
) -> float:
    """Mean size of an item embedding in bytes: that of its values and, unless no row has a zero, of their places.

    With float32 this is how the paper counts vector sizes (method page, section 3): 4 bytes a value and 4 more for its
    column index; row pointers are left out. With the smaller types everything is counted: a value, its place, and 2
    bytes for the length of the row. A place takes the smallest unsigned integer that there can be (2 bytes from a width
    of 257 to 65,536), or with int4 fewer bits, see `recbole_sparse_elsa.value_types.place_bits`. int8 and int4 need no
    scale, since rows have norm 1.

    Parameters
    ----------
    nonzeros : torch.Tensor or float
        Number of non-zeros of each item, in [0, embedding_size], shape ``(n_items,)``; or one number for all, which
        with float32, float16 and int8 may be their mean.
    embedding_size : int
        Number of columns.
    value_dtype : {"float32", "float16", "int8", "int4"}
        Of the values.
    has_scale : bool
        Whether each item has a scale in float16 beside its embedding, which takes 2 bytes more.
    """
    nonzeros = torch.as_tensor(nonzeros)
    value_bytes, scale_bytes = VALUE_TYPES[value_dtype].bits / 8, 2 if has_scale else 0
    if (nonzeros == embedding_size).all():
        return value_bytes * embedding_size + scale_bytes
    mean = nonzeros.double().mean().item()
    if value_dtype == "float32":
        return (value_bytes + 4) * mean + scale_bytes
    if value_dtype == "int4":
        counts = nonzeros.cpu().numpy()
        lower_bits, upper_bits = place_bits(counts, embedding_size)
        places = float((counts * lower_bits + upper_bits).mean()) / 8
    else:
        places = mean * next(size for size in (1, 2, 4) if embedding_size <= 256**size)
    return value_bytes * mean + places + 2 + scale_bytes


def embedding_size_report(
    nonzeros: torch.Tensor | float, shape: Sequence[int], value_dtype: str = "float32", has_scale: bool = False
) -> str:
    """A line for the log on the size of item embeddings whose dense matrix has this shape; see `bytes_per_item`."""
    n_items, embedding_size = shape
    size = bytes_per_item(nonzeros, embedding_size, value_dtype, has_scale)
    dense_size = bytes_per_item(embedding_size, embedding_size, value_dtype, has_scale)
    return (
        f"{torch.as_tensor(nonzeros).double().mean().item():g} non-zeros per item, {size:g} bytes per item, "
        f"{size / dense_size:.4g} of the dense {n_items} x {embedding_size} matrix ({dense_size:g} bytes per item)"
    )
