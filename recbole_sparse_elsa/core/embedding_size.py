"""The size of item embeddings, counted in the same way for every model."""

import torch

# Bits of a value by type.
_VALUE_BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
VALUE_DTYPES = tuple(_VALUE_BITS)


def rounding_steps(value_dtype: str):
    """Of how many equal steps the largest value of a row is: 127 or 7; None if the type is not one of equal steps.

    Parameters
    ----------
    value_dtype : {"float32", "float16", "int8", "int4"}
        Of the values.
    """
    return 2 ** (_VALUE_BITS[value_dtype] - 1) - 1 if value_dtype.startswith("int") else None


def place_bits(nonzeros: torch.Tensor, embedding_size: int) -> tuple:
    """How many bits say in which columns the non-zeros of a row stand, in int4: an Elias-Fano list or a bitmap.

    Elias (Efficient storage and retrieval by content and address of static files, Journal of the ACM 1974): of k rising
    numbers below d the lower ``l = floor(log2(d / k))`` bits are written as they are, and the upper ones as a string in
    which the i-th number (from 0) sets the bit at its upper part plus i. Where one bit for each of the d columns is not
    more, that takes its place.

    Parameters
    ----------
    nonzeros : torch.Tensor
        int64, any shape: the number of non-zeros k of each row, in [0, embedding_size].
    embedding_size : int
        Number of columns d.

    Returns
    -------
    lower_bits : torch.Tensor
        int64, same shape: the lower bits of each place; 0 for a bitmap.
    upper_bits : torch.Tensor
        int64, same shape: the length of the row's string of upper parts, or of its bitmap.
    """
    lower = torch.frexp((embedding_size // nonzeros.clamp(min=1)).double()).exponent.long().sub(1).clamp(min=0)
    upper = nonzeros + ((embedding_size - 1) >> lower)
    is_bitmap = nonzeros * lower + upper >= embedding_size
    upper = torch.where(is_bitmap, embedding_size, upper) * (nonzeros > 0)
    return lower.masked_fill(is_bitmap, 0), upper


def bytes_per_item(nonzeros, embedding_size: int, value_dtype: str = "float32", has_scale: bool = False) -> float:
    """Mean size of an item embedding in bytes: that of its values and, unless no row has a zero, of their places.

    With float32 this is how the paper counts vector sizes (method page, section 3): 4 bytes a value and 4 more for its
    column index; row pointers are left out. With the smaller types everything is counted: a value, its place, and 2
    bytes for the length of the row. A place takes the smallest unsigned integer that there can be (2 bytes from a width
    of 257 to 65,536), or with int4 fewer bits, see `place_bits`. int8 and int4 need no scale, since rows have norm 1.

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
    value_bytes, scale_bytes = _VALUE_BITS[value_dtype] / 8, 2 if has_scale else 0
    if (nonzeros == embedding_size).all():
        return value_bytes * embedding_size + scale_bytes
    mean = nonzeros.double().mean().item()
    if value_dtype == "float32":
        return (value_bytes + 4) * mean + scale_bytes
    if value_dtype == "int4":
        lower_bits, upper_bits = place_bits(nonzeros, embedding_size)
        places = (nonzeros * lower_bits + upper_bits).double().mean().item() / 8
    else:
        places = mean * next(size for size in (1, 2, 4) if embedding_size <= 256**size)
    return value_bytes * mean + places + 2 + scale_bytes


def embedding_size_report(nonzeros, shape, value_dtype: str = "float32", has_scale: bool = False) -> str:
    """A line for the log on the size of item embeddings whose dense matrix has this shape; see `bytes_per_item`."""
    n_items, embedding_size = shape
    size = bytes_per_item(nonzeros, embedding_size, value_dtype, has_scale)
    dense_size = bytes_per_item(embedding_size, embedding_size, value_dtype, has_scale)
    return (
        f"{torch.as_tensor(nonzeros).double().mean().item():g} non-zeros per item, {size:g} bytes per item, "
        f"{size / dense_size:.4g} of the dense {n_items} x {embedding_size} matrix ({dense_size:g} bytes per item)"
    )
