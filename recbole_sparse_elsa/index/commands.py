"""``sparse-elsa index``, ``recommend`` and ``export``: shells over `SparseIndex` and what is beside it."""

import argparse
import os

from recbole_sparse_elsa import report
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import export
from recbole_sparse_elsa.index.encoding import ENCODINGS
from recbole_sparse_elsa.index.from_checkpoint import index_from_checkpoint
from recbole_sparse_elsa.index.sparse_index import SparseIndex
from recbole_sparse_elsa.options import require_whole_number

# Items of the history that a row of the table names as its reasons.
_REASONS = 3


def add_subcommand(subparsers) -> None:
    """Add ``index``, ``recommend`` and ``export``."""
    _add_index(subparsers)
    _add_recommend(subparsers)
    _add_export(subparsers)


def _add_index(subparsers):
    parser = subparsers.add_parser(
        "index",
        help="a retrieval index of a trained model",
        description="Make a retrieval index of a checkpoint of SparseELSA or ELSASAE, with the items' tokens.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file in saved/; a pickle: it must be one you trust")
    parser.add_argument("--output", required=True, metavar="FILE", help="index file to write")
    parser.add_argument(
        "--encoding", choices=list(ENCODINGS), default="float32", help="how values are held (default: float32)"
    )
    parser.add_argument(
        "--data_path",
        metavar="DIR",
        help="folder that holds the data set's folder (default: where it was when the model was trained)",
    )
    parser.set_defaults(run=run_index)


def run_index(options) -> None:
    """Write the index file.

    Raises
    ------
    CheckpointError, DatasetError
        See `index_from_checkpoint`.
    OptionError
        The file cannot be written.
    """
    _require_folder_of(options.output)
    index = index_from_checkpoint(options.checkpoint, options.encoding, options.data_path)
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
    print(report.markdown_table([row]))
    print(f"Written: {options.output}")
    print(f"Next: sparse-elsa recommend {options.output} {' '.join(index.item_tokens[:2])}")


def _add_recommend(subparsers):
    parser = subparsers.add_parser(
        "recommend",
        help="the best items for a history, from an index",
        description="Print the best items for a user who is known by the items of a history.",
        allow_abbrev=False,
    )
    parser.add_argument("index", metavar="INDEX", help="index file")
    parser.add_argument("items", nargs="+", metavar="ITEM", help="tokens of the items of the history")
    parser.add_argument("--n", type=int, default=10, help="number of items (default: 10)")
    parser.add_argument("--keep-history", action="store_true", help="items of the history may be recommended, too")
    parser.add_argument("--allow", metavar="FILE", help="only these items: a file with a token on each line")
    parser.add_argument("--block", metavar="FILE", help="not these items: a file with a token on each line")
    parser.add_argument(
        "--if-unknown",
        choices=["error", "popular"],
        default="error",
        help="what there is for a history without any known item: an error, or the most popular items (default: error)",
    )
    parser.add_argument(
        "--explain", action="store_true", help=f"add the {_REASONS} items of the history that count most for each"
    )
    parser.add_argument("--output", metavar="FILE", help="write the table as CSV, too")
    parser.set_defaults(run=run_recommend)


def run_recommend(options) -> None:
    """Print the table, and what of the history is unknown.

    Raises
    ------
    IndexFileError
        The index file cannot be used.
    OptionError
        See `SparseIndex.recommend`; or a file cannot be read or written.
    """
    if options.output is not None:
        _require_folder_of(options.output)
    allow, block = _read_tokens("allow", options.allow), _read_tokens("block", options.block)
    index = SparseIndex.load(options.index)
    found = index.recommend(
        options.items,
        options.n,
        mask_history=not options.keep_history,
        allow=allow,
        block=block,
        if_unknown=options.if_unknown,
    )
    rows = []
    for rank, (item, score) in enumerate(zip(found.items, found.scores), start=1):
        row = {"rank": rank, "item": item, "interactions" if found.by_popularity else "score": f"{score:.6g}"}
        if options.explain and not found.by_popularity:
            row["because of"] = _reasons(index.explain(options.items, item))
        rows.append(row)
    if found.unknown_items:
        print(f"Unknown to the model, and skipped: {', '.join(found.unknown_items)}")
    if found.by_popularity:
        print("No item of the history is known: these are the most popular items")
    print(report.markdown_table(rows))
    if options.output is not None:
        report.write_csv(options.output, rows)
        print(f"Written: {options.output}")


def _reasons(explanation):
    pairs = zip(explanation.history_items[:_REASONS], explanation.history_parts[:_REASONS])
    return ", ".join(f"{item} ({part:.3f})" for item, part in pairs if part > 0)


def _add_export(subparsers):
    parser = subparsers.add_parser(
        "export",
        help="the item embeddings of an index for a vector database",
        description="Write the item embeddings of an index as Parquet, or fill a collection of Qdrant with them.",
        epilog="Example: sparse-elsa export my.index --to qdrant --url http://localhost:6333 --collection items",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("index", metavar="INDEX", help="index file")
    parser.add_argument("--to", choices=["parquet", "qdrant"], default="parquet", help="default: parquet")
    parser.add_argument("--output", metavar="FILE", help="Parquet file to write")
    parser.add_argument("--collection", help="name of Qdrant's collection; it is made if it does not exist")
    parser.add_argument("--url", help="Qdrant's server; its key is taken from QDRANT_API_KEY")
    parser.add_argument("--path", metavar="DIR", help="a folder instead of a server: Qdrant's local mode")
    parser.add_argument("--batch-size", type=int, default=1000, help="items sent to Qdrant at a time (default: 1000)")
    parser.set_defaults(run=run_export)


def run_export(options) -> None:
    """Write the file, or fill the collection.

    Raises
    ------
    IndexFileError
        The index file cannot be used.
    OptionError
        An option is missing or not allowed, a library is not installed, or Qdrant refuses.
    """
    require_whole_number({"batch-size": options.batch_size}, "batch-size", at_least=1)
    if options.to == "parquet":
        if options.output is None:
            raise OptionError("output is missing: give the Parquet file to write")
        _require_folder_of(options.output)
        export.write_parquet(SparseIndex.load(options.index), options.output)
        print(f"Written: {options.output}")
        return
    if options.collection is None or (options.url is None) == (options.path is None):
        raise OptionError("to is qdrant, which needs collection, and either url (a server) or path (a folder)")
    index = SparseIndex.load(options.index)
    client = export.open_qdrant(options.url, options.path)
    try:
        n_sent = export.fill_qdrant(index, client, options.collection, options.batch_size)
    finally:
        client.close()
    print(f"Collection {options.collection} holds {index.n_items:,} items, of which {n_sent:,} were sent now")


def _require_folder_of(file):
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(file):
        raise OptionError(f"output: {file} cannot be written; give a file in a folder that exists")


def _read_tokens(name, file):
    if file is None:
        return None
    try:
        with open(file, encoding="utf-8") as opened:
            return [line.rstrip("\r\n") for line in opened if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
