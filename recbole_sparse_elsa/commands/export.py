"""``sparse-elsa export``: the item embeddings of an index for a vector database."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.commands._source import add_source_arguments, open_source
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import export
from recbole_sparse_elsa.options import require_whole_number


def add_subcommand(subparsers: Any) -> None:
    """Add ``export``."""
    parser = subparsers.add_parser(
        "export",
        help="the item embeddings of an index for a vector database",
        description="Write the item embeddings of an index as Parquet, or fill a collection of Qdrant with them.",
        epilog="Example: sparse-elsa export my.index --to qdrant --url http://localhost:6333 --collection items",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_source_arguments(parser)
    parser.add_argument("--to", choices=["parquet", "qdrant"], default="parquet", help="default: parquet")
    parser.add_argument("--output", metavar="FILE", help="Parquet file to write")
    parser.add_argument("--collection", help="name of Qdrant's collection; it is made if it does not exist")
    parser.add_argument("--url", help="Qdrant's server; its key is taken from QDRANT_API_KEY")
    parser.add_argument("--path", metavar="DIR", help="a folder instead of a server: Qdrant's local mode")
    parser.add_argument("--batch-size", type=int, default=1000, help="items sent to Qdrant at a time (default: 1000)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the file, or fill the collection.

    Raises
    ------
    IndexFileError, CheckpointError, DatasetError
        The file cannot be used.
    OptionError
        An option is missing or not allowed, a library is not installed, the file cannot be written or is in use
        (OutputError), or Qdrant refuses.
    """
    require_whole_number("batch-size", options.batch_size, at_least=1)
    if options.to == "parquet":
        if options.output is None:
            raise OptionError("output is missing: give the Parquet file to write")
        with output.reserve_file(options.output):
            export.write_parquet(open_source(options.source, options.data_path).index, options.output)
        print(f"Written: {options.output}")
        return
    if options.collection is None or (options.url is None) == (options.path is None):
        raise OptionError("to is qdrant, which needs collection, and either url (a server) or path (a folder)")
    index = open_source(options.source, options.data_path).index
    client = export.open_qdrant(options.url, options.path)
    try:
        n_sent = export.fill_qdrant(index, client, options.collection, options.batch_size)
    finally:
        client.close()
    print(f"Collection {options.collection} holds {index.n_items:,} items, of which {n_sent:,} were sent now")
