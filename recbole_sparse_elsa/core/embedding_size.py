"""The size of item embeddings, counted in the same way for every model."""

_VALUE_BYTES = 4
_INDEX_BYTES = 4


def bytes_per_item(nonzeros_per_item: float, embedding_size: int) -> float:
    """Mean size of an item embedding in bytes: 4 a value, and 4 more for its column index unless no row has a zero.

    This is how the paper counts vector sizes (method page, section 3); row pointers are left out.

    Parameters
    ----------
    nonzeros_per_item : float
        Mean number of non-zeros, in [0, embedding_size].
    embedding_size : int
        Number of columns.
    """
    if nonzeros_per_item == embedding_size:
        return float(_VALUE_BYTES * embedding_size)
    return (_VALUE_BYTES + _INDEX_BYTES) * nonzeros_per_item


def embedding_size_report(nonzeros_per_item: float, shape) -> str:
    """A line on the size of item embeddings whose dense matrix has this shape (items, columns), for the log."""
    n_items, embedding_size = shape
    size, dense_size = bytes_per_item(nonzeros_per_item, embedding_size), bytes_per_item(embedding_size, embedding_size)
    return (
        f"{nonzeros_per_item:g} non-zeros per item, {size:g} bytes per item, {size / dense_size:.4g} of the dense "
        f"{n_items} x {embedding_size} matrix ({dense_size:g} bytes per item)"
    )
