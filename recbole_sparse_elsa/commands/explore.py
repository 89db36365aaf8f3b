"""``sparse-elsa explore``: a web page on a checkpoint and its data set, served here or written as a file."""

from __future__ import annotations

import argparse
import os
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.commands._source import open_source
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.explorer.answers import Explorer, spread
from recbole_sparse_elsa.explorer.page import static_page_html
from recbole_sparse_elsa.explorer.server import ExplorerServer
from recbole_sparse_elsa.options import add_whole_number_options, require_whole_number
from recbole_sparse_elsa.segments import Segments, named_segments

_MIN_SEGMENT_SIZE = 10
# Of each segment and posting list, so that a static page stays small.
_ITEMS_IN_STATIC_PAGE = 25


def add_subcommand(subparsers: Any) -> None:
    """Add ``explore``."""
    parser = subparsers.add_parser(
        "explore",
        help=str(__doc__).split("``: ")[1],
        description=__doc__,
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="saved/….safetensors of a model with sparse item embeddings, or the .pth beside it, if you trust it",
    )
    parser.add_argument(
        "--data-path", metavar="DIR", help="folder that holds the data set's (default: where it was in training)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve at (default: 127.0.0.1, for this machine only)"
    )
    add_whole_number_options(parser, ("port", 8000, "port to serve at, 0 for any that is free"))
    parser.add_argument(
        "--segments", metavar="FILE", help="file of sparse-elsa segments (default: segments as that makes them)"
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        help="a leaderboard's CSV file, for accuracy against size (default: results.csv beside the checkpoint)",
    )
    parser.add_argument("--export", metavar="DIR", help="write DIR/index.html, a page without a server, and end")
    add_whole_number_options(parser, ("users", 20, "users in the page that --export writes"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Serve the page until interrupted, or write it.

    Raises
    ------
    OptionError
        An option is not allowed, or the port is in use.
    CheckpointError, DatasetError, SegmentsFileError
        A file cannot be read.
    """
    require_whole_number("users", options.users, at_least=1)
    accuracy = _accuracy(options)
    segments = None if options.segments is None else Segments.load(options.segments)
    if options.export is not None:
        file = os.path.join(options.export, "index.html")
        with output.reserve_folder(options.export, "export"):
            explorer = _explorer(options, segments, accuracy)
            output.write_text(file, static_page_html(explorer))
        print(f"Written: {file} ({os.path.getsize(file) / 1e6:.2g} MB, {len(explorer.example_users)} users)")
        return
    with ExplorerServer(options.host, options.port) as server:
        server.explorer = _explorer(options, segments, accuracy)
        with output.progress("Preparing answers"):
            server.explorer.user(server.explorer.example_users[0])  # makes what is made once
            server.explorer.items()
        print(f"Open {server.url} in a browser; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _accuracy(options: argparse.Namespace) -> list[dict[str, Any]]:
    from recbole_sparse_elsa.explorer.accuracy_by_size import accuracy_by_size  # RecBole, which --help does without

    if options.results is not None:
        return accuracy_by_size(options.results)
    beside = os.path.join(os.path.dirname(os.path.abspath(options.checkpoint)), "results.csv")
    if not os.path.isfile(beside):
        return []
    try:
        return accuracy_by_size(beside)
    except OptionError as error:  # nobody asked for this file
        print(f"No plot of accuracy against size: {error}")
        return []


def _explorer(options: argparse.Namespace, segments: Segments | None, accuracy: list[dict[str, Any]]) -> Explorer:
    source = open_source(options.checkpoint, options.data_path)
    users = list(source.histories)
    if segments is None:
        segments = _segments(source)
    of_all = source.index, segments, source.histories, source.dataset, accuracy, source.figures
    with output.progress("Preparing the page"):
        if options.export is None:
            return Explorer(*of_all)
        return Explorer(
            *of_all,
            example_users=spread(users, options.users),
            items_per_page=_ITEMS_IN_STATIC_PAGE,
        )


def _segments(source: Any) -> Segments:
    if source.item_file is None:
        print("No metadata: the data set has no .item file, so items and segments are named by item tokens")
    min_size = min(_MIN_SEGMENT_SIZE, source.index.n_items)
    index = source.index
    with output.progress(f"Segmenting {index.n_items:,} items"):
        return named_segments(index, source.item_file, min_size=min_size, item_id_field=source.item_id_field)
