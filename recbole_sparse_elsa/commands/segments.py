"""``sparse-elsa segments``: the catalogue in named segments, from the item embeddings of a model."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.commands._source import add_source_arguments, open_source
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import DEFAULT_RATIO, require_whole_number
from recbole_sparse_elsa.segments import named_segments
from recbole_sparse_elsa.segments.segment_catalogue import DEFAULT_NUMBER, require_ratio

_EXAMPLES = 3


def add_subcommand(subparsers: Any) -> None:
    """Add ``segments``."""
    parser = subparsers.add_parser(
        "segments", help=str(__doc__).split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    add_source_arguments(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="segments file (JSON) to write")
    parser.add_argument(
        "--n-segments", type=int, help=f"number of segments (default: {DEFAULT_NUMBER}, or fewer if there are fewer)"
    )
    parser.add_argument("--min-size", type=int, default=10, help="items that a segment has at least (default: 10)")
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=DEFAULT_RATIO,
        help=f"items that a segment has at most, as a multiple of an even division: {DEFAULT_RATIO:g} allows one of 20 "
        f"segments {DEFAULT_RATIO / 20:.0%}% of the items; inf sets no bound (default: {DEFAULT_RATIO:g})",
    )
    parser.add_argument(
        "--small",
        choices=["merge", "drop"],
        default="merge",
        help="merge smaller segments into others, or leave their items over (default: merge)",
    )
    parser.add_argument(
        "--item-file", metavar="FILE", help="RecBole's .item file, for names (default: that of a checkpoint's data set)"
    )
    parser.add_argument(
        "--term-fields", nargs="+", metavar="FIELD", help="fields of it from which names are made (default: all texts)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Segment the catalogue by `named_segments`, print the segments, and write the file.

    Raises
    ------
    OptionError
        An option is not allowed, or the file cannot be written or is in use (OutputError).
    IndexFileError, CheckpointError, DatasetError
        A file cannot be read.
    """
    require_whole_number("min_size", options.min_size, at_least=1)
    require_ratio(options.max_ratio)
    if options.n_segments is not None:
        require_whole_number("n_segments", options.n_segments, at_least=1)
    with output.reserve_file(options.output):
        _segment(options)


def _segment(options: argparse.Namespace) -> None:
    source = open_source(options.source, options.data_path)
    index, item_file = source.index, options.item_file or source.item_file
    if item_file is None and options.term_fields:
        raise OptionError("term_fields are given, but there is no .item file: give it with --item-file")
    with output.progress(f"Segmenting {index.n_items:,} items"):
        segments = named_segments(
            index,
            item_file,
            options.n_segments,
            min_size=options.min_size,
            max_ratio=options.max_ratio,
            small=options.small,
            term_fields=options.term_fields,
            item_id_field=source.item_id_field,
        )
    if item_file is None:
        print("No metadata: segments are named by item tokens; give a .item file with --item-file")
    rows = [
        {"segment": segment.name, "items": segment.size, "for example": "; ".join(segment.item_labels[:_EXAMPLES])}
        for segment in segments
    ]
    print(output.markdown_table(rows))
    n_items = index.n_items - len(segments.left_over)
    print(
        f"{len(segments)} segments of {n_items} items, {len(segments.left_over)} items left over; the tree can be "
        f"cut into 1 to {segments.tree.n_leaves} segments; the largest of the {len(segments)} has "
        f"{segments[0].size / n_items:.1%} of the items"
    )
    segments.save(options.output)
    print(f"Written: {options.output}")
