"""``sparse-elsa benchmark``: what training and retrieval on the non-zeros cost beside dense embeddings."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.options import DEFAULT_RATIO, add_device_option, add_whole_number_options


def add_subcommand(subparsers: Any) -> None:
    """Add ``benchmark`` with a subcommand for each benchmark."""
    assert __doc__ is not None
    parser = subparsers.add_parser("benchmark", help=__doc__.split("``: ")[1], description=__doc__, allow_abbrev=False)
    benchmarks = parser.add_subparsers(required=True, metavar="BENCHMARK")
    for name, meaning, add_options in (
        ("step", "one training step", _add_step),
        ("training", "whole trainings", _add_training),
        ("scale", "growth with the data", _add_scale),
        ("evaluation", "full ranking beside EASE's", _add_evaluation),
        ("retrieval", "the index beside dense embeddings", _add_retrieval),
        ("segments", "segments against genres, homepages against lists", _add_segments),
    ):
        description = f"``sparse-elsa benchmark {name}``: {add_options.__doc__}"
        of_benchmark = benchmarks.add_parser(name, help=meaning, description=description, allow_abbrev=False)
        add_options(of_benchmark)
        of_benchmark.set_defaults(run=run, benchmark=name)


def run(options: argparse.Namespace) -> None:
    """Run a benchmark with the options of the command line: they are the parameters of its class.

    Raises
    ------
    OptionError
        An option is not allowed, or the folder cannot be written or is in use (OutputError).
    """
    parameters = {name: value for name, value in vars(options).items() if name not in ("run", "benchmark")}
    module = importlib.import_module(f"recbole_sparse_elsa.benchmark.{options.benchmark}")
    benchmark = getattr(module, f"{options.benchmark.capitalize()}Benchmark")(**parameters)
    with output.reserve_folder(options.output):
        benchmark.run()


def _add_step(parser):
    """one training step on the non-zeros against the dense masked computation.

    Both steps are measured in one process and in turn, so that whatever else the machine does meets both alike.
    """
    _add_output(parser, "the table, CSV files and plot")
    grid = parser.add_argument_group("the grid: every combination of these is measured")
    _add_whole_numbers(
        grid,
        ("users", [1024], "users in a batch"),
        ("items", [10000], "items in the catalogue"),
        ("embedding_size", [4096], "width d of the item embeddings"),
        ("k", [16, 64, 128, 256], "non-zeros per item embedding"),
    )
    add_whole_number_options(
        parser,
        ("repeats", 5, "timed steps of each"),
        ("interactions-per-user", 150, "distinct items a user"),
    )
    add_device_option(parser)
    add_whole_number_options(parser, ("seed", 2020, "of interactions and weights"))


def _add_training(parser):
    """whole trainings, with the dense masked computation and with this package's.

    SparseELSA is trained with the paper's pruning schedule (exponential with restarting, method page section 2) by the
    dense masked computation and by this package's, and with a schedule that starts sparse, in turn on the same data
    with the same seeds. The clock runs while the model is made and trained.
    """
    _add_output(parser, "the table and CSV files")
    _add_data_options(parser)
    add_whole_number_options(
        parser,
        ("embedding_size", 4096, "width d of the item embeddings"),
        ("k", 16, "non-zeros per item embedding at the end"),
        ("stage_epochs", 10, "epochs per stage, E in the paper"),
        ("start_k", 128, "non-zeros per item embedding of the sparse start"),
        ("sparse_stage_epochs", 2, "stage_epochs after the sparse start"),
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022], help="default: 2020 2021 2022")
    add_device_option(parser)


def _add_scale(parser):
    """how time and memory grow with the users, the items and the interactions.

    Each size is measured in a process of its own, so that its peak memory is its own.
    """
    _add_output(parser, "the tables and CSV files")
    add_whole_number_options(
        parser,
        ("users", 125_000, "users of the smallest data"),
        ("items", 62_500, "items of the smallest data"),
        ("draws-per-user", 20, "items drawn by a user of the smallest data"),
        ("doublings", 4, "how often users, items and draws are doubled, each alone; then users and items together"),
        ("recbole-users", 6_250, "users of the smallest data taken through RecBole"),
        ("recbole-items", 6_250, "items of the smallest data taken through RecBole"),
        ("embedding_size", 512, "width d of the item embeddings"),
        ("k", 16, "non-zeros per item embedding"),
        ("batch", 1024, "users in a batch"),
        ("max_output", 20_000, "items per batch over which the loss is taken"),
        ("steps", 10, "timed steps of each size"),
        ("seed", 2020, "of interactions and weights"),
    )
    add_device_option(parser)


def _add_evaluation(parser):
    """RecBole's full ranking of all users by SparseELSA and by RecBole's EASE."""
    _add_output(parser, "the table and the CSV file")
    add_whole_number_options(
        parser,
        ("users", 10_000, "users, all of whom are ranked for"),
        ("items", 10_000, "items of the catalogue"),
        ("draws-per-user", 60, "items drawn by a user"),
        ("embedding_size", 512, "width d of the item embeddings"),
        ("k", 16, "non-zeros per item embedding"),
        ("repeats", 5, "evaluations by each model"),
        ("seed", 2020, "of interactions and weights"),
    )
    add_device_option(parser)


def _add_retrieval(parser):
    """the top items for one user by the index, beside dense embeddings and others.

    One query is timed from a history to the n best items that are not in it, on one thread. The methods take turns, a
    block of queries each, so that whatever else the machine does meets all alike.
    """
    _add_output(parser, "the tables, CSV files and plot")
    _add_whole_numbers(
        parser,
        ("items", [20_000, 1_000_000], "items of the catalogue, at the first k and history"),
        ("k", [16, 8, 32, 64, 128], "non-zeros per item embedding; all but the first at the smallest catalogue"),
        ("history", [100, 10, 30, 300, 1000], "items of a user; all but the first at the smallest catalogue"),
    )
    add_whole_number_options(
        parser,
        ("embedding_size", 4096, "width d of the sparse item embeddings"),
        ("dense_size", 800, "width d of dense ELSA's"),
        ("n", 100, "items to recommend"),
        ("queries", 100, "timed queries of each method"),
        ("seed", 2020, "of embeddings and histories"),
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="SparseELSA whose NDCG@100 is measured in each encoding (default: one is trained on ml-100k)",
    )
    parser.add_argument("--data-path", metavar="DIR", help="folder that holds the folder of the checkpoint's data set")


def _add_segments(parser):
    """segments beside k-means, and homepages beside a list and popular rows.

    ELSA and SparseELSA are trained on the same users. SparseELSA's segments are compared with clusters of ELSA's dense
    item embeddings by what genres or tags say, and its homepages of held-out users with its own ranking in a plain
    list.
    """
    _add_output(parser, "the tables and CSV files")
    _add_data_options(parser)
    parser.add_argument("--label-field", help="field of the .item file to compare with (default: genre, if there)")
    parser.add_argument("--n-segments", type=int, nargs="+", default=[20, 50, 100], help="default: 20 50 100")
    add_whole_number_options(
        parser,
        ("min_size", 10, "items that a segment has at least"),
        ("rows", 5, "rows of a homepage"),
        ("items_per_row", 10, "items in a row"),
        ("test_users", 1000, "held-out users, and as many to validate on"),
        ("k", 32, "non-zeros of SparseELSA's item embeddings"),
        ("elsa_embedding_size", 256, "width d of ELSA's item embeddings"),
        ("epochs", 50, "epochs of each model at most"),
        ("kmeans_runs", 5, "runs of k-means, of which the best counts"),
        ("seed", 2020, "of the split, weights and k-means"),
    )
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=DEFAULT_RATIO,
        help=f"items that a segment has at most, as a multiple of an even division; inf: no bound (default: "
        f"{DEFAULT_RATIO:g})",
    )
    add_device_option(parser)


def _add_output(parser, meaning):
    parser.add_argument("--output", required=True, metavar="DIR", help=f"folder for {meaning}")


def _add_data_options(parser):
    parser.add_argument("--dataset", default="ml-1m", help="name of the data set (default: ml-1m)")
    parser.add_argument("--data-path", default="dataset", help="folder that holds the data set's (default: dataset)")
    parser.add_argument("--rating-at-least", type=float, help="only interactions with such a rating (default: all)")
    parser.add_argument("--config-files", nargs="+", default=[], help="YAML files with any other options of RecBole")


def _add_whole_numbers(parser, *options):
    """As `add_whole_number_options`, each of one number or more."""
    for name, default, meaning in options:
        shown = " ".join(map(str, default))
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, nargs="+", default=default, help=f"{meaning} (default: {shown})"
        )
