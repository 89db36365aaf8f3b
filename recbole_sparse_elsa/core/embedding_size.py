"""The size of item embeddings, counted in the same way for every model."""

VALUE_DTYPES = ("float32", "float16", "int8", "packed16")
# With fewer than 4 bits, 7 steps of either sign, a value says hardly more than its sign.
_FEWEST_VALUE_BITS = 4
MOST_PACKED_DIMENSIONS = 2 ** (16 - _FEWEST_VALUE_BITS)


def packed_value_bits(embedding_size: int) -> int:
    """Bits of a value in packed16: those of 16 that its place, below ``embedding_size``, leaves."""
    return 16 - (embedding_size - 1).bit_length()


def rounding_steps(value_dtype: str, embedding_size: int):
    """Of how many equal steps the largest value of a row is; None if the type is not one of equal steps.

    Parameters
    ----------
    value_dtype : {"float32", "float16", "int8", "packed16"}
        Of the values.
    embedding_size : int
        Number of columns, at most 4,096 for packed16.
    """
    if value_dtype == "packed16":
        return 2 ** (packed_value_bits(embedding_size) - 1) - 1
    return 127 if value_dtype == "int8" else None


def bytes_per_item(
    nonzeros_per_item: float, embedding_size: int, value_dtype: str = "float32", has_scale: bool = False
) -> float:
    """Mean size of an item embedding in bytes: that of its values and, unless no row has a zero, of their places.

    With float32 this is how the paper counts vector sizes (method page, section 3): 4 bytes a value and 4 more for its
    column index; row pointers are left out. With the smaller types everything is counted: 2 bytes a value or 1, the
    smallest unsigned column index that there can be (2 bytes from a width of 257 to 65,536), and 2 bytes for the length
    of the row. int8 and packed16 need no scale, since rows have norm 1. With packed16 a non-zero takes 2 bytes in all:
    its place the bits that it needs, and its value the others.

    Parameters
    ----------
    nonzeros_per_item : float
        Mean number of non-zeros, in [0, embedding_size].
    embedding_size : int
        Number of columns.
    value_dtype : {"float32", "float16", "int8", "packed16"}
        Of the values.
    has_scale : bool
        Whether each item has a scale in float16 beside its embedding, which takes 2 bytes more.
    """
    scale_bytes = 2 if has_scale else 0
    value_bytes, index_bytes, row_bytes = 4, 4, 0
    if value_dtype != "float32":
        value_bytes, row_bytes = {"float16": 2, "int8": 1, "packed16": 2}[value_dtype], 2
        index_bytes = next(size for size in (1, 2, 4) if embedding_size <= 256**size)
        if value_dtype == "packed16":
            index_bytes = 0
    if nonzeros_per_item == embedding_size:
        return float(value_bytes * embedding_size + scale_bytes)
    return (value_bytes + index_bytes) * nonzeros_per_item + row_bytes + scale_bytes


def embedding_size_report(
    nonzeros_per_item: float, shape, value_dtype: str = "float32", has_scale: bool = False
) -> str:
    """A line on the size of item embeddings whose dense matrix has this shape (items, columns), for the log."""
    n_items, embedding_size = shape
    size = bytes_per_item(nonzeros_per_item, embedding_size, value_dtype, has_scale)
    dense_size = bytes_per_item(embedding_size, embedding_size, value_dtype, has_scale)
    return (
        f"{nonzeros_per_item:g} non-zeros per item, {size:g} bytes per item, {size / dense_size:.4g} of the dense "
        f"{n_items} x {embedding_size} matrix ({dense_size:g} bytes per item)"
    )
