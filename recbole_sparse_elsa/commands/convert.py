"""``sparse-elsa convert``: publishers' raw files made into a RecBole data set.

The kind of a file is seen from its first line. Files are read line by line, so that their size does not matter. Every
interaction is kept, also where a user and an item occur together more than once (RecBole's rm_dup_inter removes those).
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.convert import RAW_FORMATS, conversion, convert


def add_subcommand(subparsers: Any) -> None:
    """Add ``convert``."""
    folders = " or ".join(conversion.FILES_OF_FOLDERS)
    known = "\n".join(f"  {raw_format.description}" for raw_format in RAW_FORMATS)
    parser = subparsers.add_parser(
        "convert",
        help=str(__doc__).split("``: ")[1].splitlines()[0],
        description=__doc__,
        epilog=f"What can be converted, each also gzip-compressed:\n{known}\n\n"
        "Example: sparse-elsa convert ml-20m/ratings.csv --output dataset/ml-20m",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help=f"raw file or files, the training_set.tar of Netflix, or a folder with {folders}",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write; its name is the name of the data set"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the .inter and .item files that the folder has already"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Convert by `convert`, print what the data set has, and say how to train on it.

    Raises
    ------
    OptionError
        A source does not exist, or the output exists already or cannot be written.
    DatasetError
        A source is not of a known kind, or damaged.
    """
    written = convert(options.source, options.output, options.overwrite)
    row = {
        "data set": written.name,
        "interactions": f"{written.interactions:,}",
        "users": _count(written.users),
        "items": _count(written.items),
    }
    print(output.markdown_table([row]))
    print(f"Written: {', '.join(filter(None, [written.inter_file, written.item_file]))}")
    data_path = os.path.dirname(os.path.normpath(options.output)) or "."
    data_path = "" if data_path == "dataset" else f" --data_path={data_path}"
    print(f"Next: python run_recbole.py --dataset={written.name}{data_path}")


def _count(number: int | None) -> str:
    return f"over {conversion.MOST_COUNTED:,}" if number is None else f"{number:,}"
