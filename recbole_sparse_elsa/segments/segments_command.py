"""``sparse-elsa segments``: the catalogue in named segments, from the item embeddings of a model."""

import os

from recbole_sparse_elsa import report
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_whole_number
from recbole_sparse_elsa.segments.item_metadata import read_item_file
from recbole_sparse_elsa.segments.naming import name_segments
from recbole_sparse_elsa.segments.segment_catalogue import DEFAULT_NUMBER, segment_catalogue
from recbole_sparse_elsa.segments.source import Source, add_source_arguments

_EXAMPLES = 3


def add_subcommand(subparsers) -> None:
    """Add ``segments``."""
    parser = subparsers.add_parser(
        "segments", help=__doc__.split("``: ")[1], description=__doc__, allow_abbrev=False
    )
    add_source_arguments(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="segments file (JSON) to write")
    parser.add_argument(
        "--n_segments", type=int, help=f"number of segments (default: {DEFAULT_NUMBER}, or fewer if there are fewer)"
    )
    parser.add_argument("--min_size", type=int, default=10, help="items that a segment has at least (default: 10)")
    parser.add_argument(
        "--small",
        choices=["merge", "drop"],
        default="merge",
        help="merge smaller segments into others, or leave their items over (default: merge)",
    )
    parser.add_argument(
        "--item_file", metavar="FILE", help="RecBole's .item file, for names (default: that of a checkpoint's data set)"
    )
    parser.add_argument(
        "--term_fields", nargs="+", metavar="FIELD", help="fields of it from which names are made (default: all texts)"
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    """Segment the catalogue by `segment_catalogue`, name the segments by `name_segments`, and write the file.

    Raises
    ------
    OptionError
        An option is not allowed.
    IndexFileError, CheckpointError, DatasetError
        A file cannot be read.
    """
    require_whole_number(vars(options), "min_size", at_least=1)
    if options.n_segments is not None:
        require_whole_number(vars(options), "n_segments", at_least=1)
    folder = os.path.dirname(os.path.abspath(options.output))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise OptionError(f"output: folder {folder} does not exist or cannot be written to")
    source = Source(options.source, options.data_path)
    index, item_file = source.index, options.item_file or source.item_file
    segments = segment_catalogue(
        index.item_embeddings,
        index.item_tokens,
        options.n_segments,
        min_size=options.min_size,
        small=options.small,
        popularity=index.popularity,
    )
    if item_file is not None:
        metadata = read_item_file(item_file, index.item_tokens, options.term_fields, source.item_id_field)
        segments = name_segments(segments, metadata)
    elif options.term_fields:
        raise OptionError("term_fields are given, but there is no .item file: give it with --item_file")
    else:
        print("No metadata: segments are named by item tokens; give a .item file with --item_file")
    rows = [
        {"segment": segment.name, "items": segment.size, "for example": "; ".join(segment.item_labels[:_EXAMPLES])}
        for segment in segments
    ]
    print(report.markdown_table(rows))
    print(
        f"{len(segments)} segments of {index.n_items - len(segments.left_over)} items, {len(segments.left_over)} items "
        f"left over; the tree can be cut into 1 to {segments.tree.n_leaves} segments"
    )
    segments.save(options.output)
    print(f"Written: {options.output}")
