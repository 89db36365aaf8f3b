"""The options of a benchmark that trains on a data set of RecBole's: which one, and which of its interactions."""

import os

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_number


def add_data_options(parser) -> None:
    """Add ``--dataset``, ``--data_path``, ``--rating-at-least`` and ``--config_files`` to an argparse parser."""
    parser.add_argument("--dataset", default="ml-1m", help="name of the data set (default: ml-1m)")
    parser.add_argument("--data_path", default="dataset", help="folder that holds the data set's (default: dataset)")
    parser.add_argument("--rating-at-least", type=float, help="only interactions with such a rating (default: all)")
    parser.add_argument("--config_files", nargs="+", default=[], help="YAML files with any other options of RecBole")


def check_data_options(options) -> None:
    """Raise OptionError unless they are allowed, and the files are there."""
    if options.rating_at_least is not None:
        require_number({"rating-at-least": options.rating_at_least}, "rating-at-least")
    for file in options.config_files:
        if not os.path.isfile(file):
            raise OptionError(f"config_files: {file} was not found")


def recbole_options(options) -> dict:
    """RecBole's options for the data; those of the files are not among them. Paths are absolute."""
    chosen = {"data_path": os.path.abspath(options.data_path)}
    if options.rating_at_least is not None:
        chosen["load_col"] = {"inter": ["user_id", "item_id", "rating"]}
        chosen["val_interval"] = {"rating": f"[{options.rating_at_least:g},inf)"}
    return chosen


def in_words(options) -> dict:
    """What an explanation says of the options: ``filtered`` of the ratings, ``from_files`` of the other options."""
    ratings, files = options.rating_at_least, options.config_files
    return {
        "filtered": "" if ratings is None else f" (ratings of at least {ratings:g})",
        "from_files": f" or from {', '.join(files)}" if files else "",
    }
