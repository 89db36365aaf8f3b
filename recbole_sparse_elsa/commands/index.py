"""``sparse-elsa index``: a retrieval index of a trained model."""

from __future__ import annotations

import argparse
import os
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.value_types import VALUE_TYPES


def add_subcommand(subparsers: Any) -> None:
    """Add ``index``."""
    parser = subparsers.add_parser(
        "index",
        help="a retrieval index of a trained model",
        description="Make a retrieval index of a saved model with sparse item embeddings.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint",
        metavar="MODEL",
        help="saved/….safetensors, or the .pth beside it, which is a pickle, and must be one you trust",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="index file to write")
    parser.add_argument(
        "--encoding", choices=list(VALUE_TYPES), default="float32", help="how values are held (default: float32)"
    )
    parser.add_argument(
        "--data-path",
        metavar="DIR",
        help="folder that holds the data set's folder (default: where it was when the model was trained)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the index file.

    Raises
    ------
    CheckpointError, DatasetError
        See `SavedRun.make_index`.
    OutputError
        The file cannot be written, or another process is writing it.
    """
    with output.reserve_file(options.output):
        with output.loading():  # after the first check
            from recbole_sparse_elsa.runs import SavedRun

        index = SavedRun(options.checkpoint, options.data_path).make_index(options.encoding)
        index.save(options.output)
    n_bytes = os.path.getsize(options.output)
    row = {
        "items": f"{index.n_items:,}",
        "d": f"{index.embedding_size:,}",
        "non-zeros an item": f"{index.n_nonzeros / index.n_items:.4g}",
        "encoding": index.encoding,
        "file (MB)": f"{n_bytes / 1e6:.4g}",
        "bytes an item": f"{n_bytes / index.n_items:.1f}",
    }
    print(index.made_by)
    print(output.markdown_table([row]))
    print(f"Written: {options.output}")
    print(f"Next: sparse-elsa recommend {options.output} {' '.join(index.item_tokens[:2])}")
