"""``sparse-elsa convert``: raw files, of publishers and of one's own, made into a RecBole data set.

The kind of a publisher's file is seen from its first line; of other files --user, --item, --rating and --time name the
columns. Files whose names tell train, valid and test are the parts of a fixed split. Files are read line by line, so
that their size does not matter. Every interaction is kept, also where a user and an item occur together more than once
(RecBole's rm_dup_inter removes those).
"""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any

from recbole_sparse_elsa import output
from recbole_sparse_elsa.convert import KNOWN_FORMS, ColumnOptions, Conversion, conversion, convert
from recbole_sparse_elsa.convert.split_files import PARTS
from recbole_sparse_elsa.convert.values import TIME_UNITS


def add_subcommand(subparsers: Any) -> None:
    """Add ``convert``."""
    folders = " or ".join(conversion.FILES_OF_FOLDERS)
    known = "\n".join(f"  {description}" for description in KNOWN_FORMS)
    parser = subparsers.add_parser(
        "convert",
        help=str(__doc__).split("``: ")[1].splitlines()[0],
        description=__doc__,
        epilog=f"What can be converted without naming columns, text also gzip-compressed:\n{known}\n\n"
        "Examples:\n"
        "  sparse-elsa convert ml-20m/ratings.csv --output dataset/ml-20m\n"
        "  sparse-elsa convert gowalla/train.txt gowalla/test.txt --output dataset/gowalla\n"
        "  sparse-elsa convert shop.csv --user customer --item sku --time when --rating stars --output dataset/shop",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help=f"raw file or files, the training_set.tar of Netflix, or a folder with {folders}, or with train.txt and "
        "test.txt",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write; its name is the name of the data set"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the .inter and .item files that the folder has already"
    )
    parts = parser.add_argument_group("fixed splits whose files have other names, instead of SOURCE")
    for part in PARTS:
        parts.add_argument(f"--{part}", metavar="FILE", help=f"the {part} part")
    columns = parser.add_argument_group("files with any columns (separated text, Parquet)")
    meanings = {
        "user": "users",
        "item": "items",
        "rating": "ratings",
        "time": "times: ISO dates, which without a time zone are UTC, or seconds since 1970",
    }
    for option, meaning in meanings.items():
        columns.add_argument(
            f"--{option}", metavar="COLUMN", help=f"{meaning}: the column's name, or its number from 1 without a header"
        )
    columns.add_argument(
        "--separator", metavar="TEXT", help="what separates columns, such as ';' or tab (default: as in the first line)"
    )
    columns.add_argument(
        "--time-unit", choices=list(TIME_UNITS), help="unit of times that are numbers (default: s, if they can be that)"
    )
    columns.add_argument(
        "--skip-missing", action="store_true", help="leave out lines where one of the columns is empty, and count them"
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
    columns = ColumnOptions(
        user=options.user,
        item=options.item,
        rating=options.rating,
        time=options.time,
        separator=options.separator,
        time_unit=options.time_unit,
        skip_missing=options.skip_missing,
    )
    parts = {part: file for part in PARTS if (file := getattr(options, part)) is not None}
    written = convert(options.source, options.output, options.overwrite, columns, parts)
    _print_counts(written)
    for note in written.notes:
        print(note)
    print(f"Written: {', '.join(filter(None, [*(part.file for part in written.parts), written.item_file]))}")
    data_path = os.path.dirname(os.path.normpath(options.output)) or "."
    choices = [f"--dataset={written.name}", *([] if data_path == "dataset" else [f"--data_path={data_path}"])]
    fixed = ""
    names = [part.name for part in written.parts]
    if names == list(PARTS):
        fixed = f' --benchmark_filename="{names}"'
    elif len(names) > 1:
        print(
            "There is no validation data, which RecBole chooses by and benchmark_filename must name: hold some of the "
            "training data out, never of the test data"
        )
        return
    print(f"Next: sparse-elsa train {shlex.join(choices)}{fixed}")


def _print_counts(written: Conversion) -> None:
    rows = [
        {
            "data set": " ".join(filter(None, [written.name, part.name])),
            "interactions": f"{part.interactions:,}",
            "users": _count(part.users),
            "items": _count(part.items),
        }
        for part in written.parts
    ]
    if len(rows) > 1:
        whole = {"interactions": f"{written.interactions:,}", "users": _count(written.users)}
        rows.append({"data set": written.name, **whole, "items": _count(written.items)})
    print(output.markdown_table(rows))
    if written.published is None:
        return
    counts, published = written.counts, written.published.counts
    table = [
        {"": key, "here": _count(counts.get(key)), written.published.title: f"{number:,}"}
        for key, number in published.items()
    ]
    print(f"\n{output.markdown_table(table)}")
    different = [key for key, number in published.items() if counts.get(key) != number]
    said = f"Other than published: {', '.join(different)}" if different else "All as published"
    print(f"{said} ({written.published.source}).\n")


def _count(number: int | None) -> str:
    return f"over {conversion.MOST_COUNTED:,}" if number is None else f"{number:,}"
