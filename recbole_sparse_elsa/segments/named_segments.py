"""Segments of an index's catalogue, named from its item file: what the commands call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from recbole_sparse_elsa.options import DEFAULT_RATIO
from recbole_sparse_elsa.segments.item_metadata import read_item_file
from recbole_sparse_elsa.segments.naming import name_segments
from recbole_sparse_elsa.segments.segment_catalogue import segment_catalogue
from recbole_sparse_elsa.segments.segments import Segments


def named_segments(
    index: Any,
    item_file: str | os.PathLike[str] | None = None,
    n_segments: int | None = None,
    *,
    min_size: int = 10,
    max_ratio: float = DEFAULT_RATIO,
    small: str = "merge",
    term_fields: Sequence[str] | None = None,
    item_id_field: str = "item_id",
) -> Segments:
    """Segment the catalogue of an index by `segment_catalogue`, and name the segments by `name_segments`.

    Parameters
    ----------
    index : SparseIndex
        Or any object with ``item_embeddings``, ``item_tokens`` and ``popularity`` like its.
    item_file : str or os.PathLike, optional
        RecBole's .item file of the same items. Without it, segments are named by item tokens.
    n_segments, min_size, max_ratio, small
        As of `segment_catalogue`.
    term_fields, item_id_field
        As of `read_item_file`.

    Returns
    -------
    Segments

    Raises
    ------
    OptionError
        An argument is not allowed.
    DatasetError
        The item file cannot be read.
    """
    segments = segment_catalogue(
        index.item_embeddings,
        index.item_tokens,
        n_segments,
        min_size=min_size,
        max_ratio=max_ratio,
        small=small,
        popularity=index.popularity,
    )
    if item_file is None:
        return segments
    return name_segments(segments, read_item_file(item_file, index.item_tokens, term_fields, item_id_field))
