"""``sparse-elsa homepage``: a user's best segments, each with its best items, as a table and a web page."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.commands._source import add_source_arguments, open_source
from recbole_sparse_elsa.options import add_whole_number_options, require_whole_number
from recbole_sparse_elsa.segments import Segments, homepage, homepage_html
from recbole_sparse_elsa.segments.homepage import ROW_ORDERS

_SHOWN = 3


def add_subcommand(subparsers: Any) -> None:
    """Add ``homepage``."""
    parser = subparsers.add_parser(
        "homepage", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    add_source_arguments(parser)
    parser.add_argument("segments", metavar="SEGMENTS", help="segments file, which sparse-elsa segments writes")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--items", nargs="+", metavar="ITEM", help="the tokens of a history's items")
    whose.add_argument("--user", help="token of a user of the checkpoint's data set, whose items are the history")
    add_whole_number_options(parser, ("rows", 5, "rows at most"), ("items_per_row", 10, "items in a row at most"))
    parser.add_argument(
        "--rows_by",
        choices=ROW_ORDERS,
        default="affinity",
        help="the best segments: of the largest affinity, or whose row has the largest scores (default: affinity)",
    )
    parser.add_argument("--n_segments", type=int, help="cut the tree into so many segments (default: as in the file)")
    parser.add_argument("--output", metavar="FILE", help="web page (HTML) to write (default: only the table)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the homepage by `homepage`, print it as a table, and write it as `homepage_html` renders it.

    Raises
    ------
    OptionError
        An option is not allowed, the user is not known, none of the items is, or the file cannot be written or is in
        use (OutputError).
    SegmentsFileError, IndexFileError, CheckpointError, DatasetError
        A file cannot be read.
    """
    for name in ("rows", "items_per_row"):
        require_whole_number(name, getattr(options, name), at_least=1)
    with output.reserve_file(options.output):
        _make(options)


def _make(options: argparse.Namespace) -> None:
    segments = Segments.load(options.segments)
    if options.n_segments is not None:
        segments = segments.cut(options.n_segments)
    source = open_source(options.source, options.data_path)
    history = options.items if options.user is None else source.history_of(options.user)
    page = homepage(source.index, segments, history, options.rows, options.items_per_row, options.rows_by)
    if page.unknown_items:
        print(f"Skipped, since the index does not have them: {', '.join(page.unknown_items)}")
    rows = [
        {
            "row": row.name,
            "affinity": f"{row.affinity:.3f}",
            "items": len(row.items),
            "the first": "; ".join(row.labels[:_SHOWN]),
        }
        for row in page.rows
    ]
    print(output.markdown_table(rows) if rows else "No row: no segment has an item left that the model scores above 0")
    if options.output is not None:
        title = "Homepage" if options.user is None else f"Homepage of user {options.user}"
        output.write_text(options.output, homepage_html(page, title))
        print(f"Written: {options.output}")
