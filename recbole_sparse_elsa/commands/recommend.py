"""``sparse-elsa recommend``: the best items for a history, from an index."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.commands._source import add_source_arguments, open_source
from recbole_sparse_elsa.index import Explanation
from recbole_sparse_elsa.options import read_tokens

# Items of the history that a row of the table names as its reasons.
_REASONS = 3


def add_subcommand(subparsers: Any) -> None:
    """Add ``recommend``."""
    parser = subparsers.add_parser(
        "recommend",
        help="the best items for a history, from an index",
        description="Print the best items for a user who is known by the items of a history.",
        allow_abbrev=False,
    )
    add_source_arguments(parser)
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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table, and what of the history is unknown.

    Raises
    ------
    IndexFileError, CheckpointError, DatasetError
        The file cannot be used.
    OptionError
        See `SparseIndex.recommend`; or a file cannot be read or written.
    """
    with output.reserve_file(options.output):
        _recommend(options)


def _recommend(options: argparse.Namespace) -> None:
    allow, block = (
        None if file is None else read_tokens(name, file)
        for name, file in (("allow", options.allow), ("block", options.block))
    )
    index = open_source(options.source, options.data_path).index
    found = index.recommend(
        options.items,
        options.n,
        mask_history=not options.keep_history,
        allow=allow,
        block=block,
        if_unknown=options.if_unknown,
    )
    assert not isinstance(found, list)  # the history is of one user
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
    print(output.markdown_table(rows))
    if options.output is not None:
        output.write_csv(options.output, rows)
        print(f"Written: {options.output}")


def _reasons(explanation: Explanation) -> str:
    pairs = zip(explanation.history_items[:_REASONS], explanation.history_parts[:_REASONS])
    return ", ".join(f"{item} ({part:.3f})" for item, part in pairs if part > 0)
