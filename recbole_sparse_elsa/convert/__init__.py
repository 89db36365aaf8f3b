"""``sparse-elsa convert``: publishers' raw files made into a RecBole data set.

The kind of a file is seen from its first line. Files are read line by line, so that their size does not matter. Every
interaction is kept, also where a user and an item occur together more than once (RecBole's rm_dup_inter removes those).
"""

import argparse
import contextlib
import glob
import os

from tqdm import tqdm

from recbole_sparse_elsa import report
from recbole_sparse_elsa.convert.item_metadata import item_file_text
from recbole_sparse_elsa.convert.raw_formats import RAW_FORMATS, read_interactions, recognise
from recbole_sparse_elsa.errors import DatasetError, OptionError

# What a folder of a publisher holds; the first that is there counts.
_FILES_OF_FOLDERS = ("ratings.csv", "ratings.dat", "mv_*.txt", "training_set/mv_*.txt", "combined_data_*.txt")
# Beyond this many, users or items are not counted further, since their ids are held in memory (100 MB for this many).
_MOST_COUNTED = 1_000_000


def add_subcommand(subparsers) -> None:
    """Add ``convert``."""
    known = "\n".join(f"  {raw_format.description}" for raw_format in RAW_FORMATS)
    parser = subparsers.add_parser(
        "convert",
        help=__doc__.split("``: ")[1].splitlines()[0],
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
        help=f"raw file or files, the training_set.tar of Netflix, or a folder with {' or '.join(_FILES_OF_FOLDERS)}",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write; its name is the name of the data set"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the .inter and .item files that the folder has already"
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    """Write DIR/NAME.inter and, where the publisher's file of items is beside the source, DIR/NAME.item.

    Raises
    ------
    OptionError
        A source does not exist, or the output exists already or cannot be written.
    DatasetError
        A source is not of a known kind, or damaged.
    """
    output = os.path.normpath(options.output)
    name = os.path.basename(os.path.abspath(output))
    inter_file, item_file = (os.path.join(output, f"{name}.{suffix}") for suffix in ("inter", "item"))
    existing = [file for file in (inter_file, item_file) if os.path.exists(file)]
    if existing and not options.overwrite:
        raise OptionError(f"output: {existing[0]} exists already; give another folder, or --overwrite to replace it")
    files = _source_files(options.source)
    raw_format = _common_format(files)
    item_text = item_file_text(os.path.dirname(files[0]), raw_format)
    with _output_folder(output):
        counts = _write_interactions(inter_file, files, raw_format)
        if item_text is not None:
            report.write_text(item_file, item_text)
        elif os.path.exists(item_file):
            os.remove(item_file)  # of the data set that is replaced
    print(report.markdown_table([{"data set": name, **counts}]))
    print(f"Written: {inter_file}{'' if item_text is None else f', {item_file}'}")
    folder = os.path.dirname(output) or "."
    data_path = "" if folder == "dataset" else f" --data_path={folder}"
    print(f"Next: python run_recbole.py --dataset={name}{data_path}")


def _source_files(sources):
    files = []
    for source in sources:
        if os.path.isfile(source):
            files.append(source)
            continue
        if not os.path.isdir(source):
            raise OptionError(f"source: {source} was not found; give a raw file, or the folder that holds it")
        patterns = (os.path.join(glob.escape(source), *pattern.split("/")) for pattern in _FILES_OF_FOLDERS)
        found = next(filter(None, map(glob.glob, patterns)), None)
        if found is None:
            raise OptionError(f"source: folder {source} has no {', '.join(_FILES_OF_FOLDERS)}; give the file itself")
        files += sorted(found)
    return files


def _common_format(files):
    first = recognise(files[0])
    for file in files[1:]:
        other = recognise(file)
        if other is not first:
            raise DatasetError(f"{files[0]} is {first.name}, but {file} is {other.name}; give files of one kind")
    return first


@contextlib.contextmanager
def _output_folder(folder):
    """Make the folder where it is missing, and take it away again after an error.

    Raises
    ------
    OptionError
        It cannot be made or written to.
    """
    missing, parent = [], os.path.abspath(folder)
    while not os.path.exists(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    report.open_output(folder)
    try:
        yield
    except BaseException as error:
        for made in missing:
            with contextlib.suppress(OSError):
                os.rmdir(made)
        if isinstance(error, OSError):
            raise OptionError(f"output: {folder} cannot be written to: {error.strerror}") from None
        raise


def _write_interactions(inter_file, files, raw_format):
    """Write the .inter file, and return the numbers of interactions, users and items as text."""
    n_interactions, users, items = 0, set(), set()

    def write(file):
        nonlocal n_interactions
        timestamp = "\ttimestamp:float" if raw_format.has_timestamp else ""
        file.write(f"user_id:token\titem_id:token\trating:float{timestamp}\n".encode())
        for row in read_interactions(files, raw_format, progress):
            file.write(("\t".join(row) + "\n").encode())
            n_interactions += 1
            if len(users) <= _MOST_COUNTED:
                users.add(row[0])
            if len(items) <= _MOST_COUNTED:
                items.add(row[1])
        if n_interactions == 0:
            raise DatasetError(f"{', '.join(files[:3])}: no interaction follows the first line")

    size = sum(map(os.path.getsize, files))
    with tqdm(total=size, unit="B", unit_scale=True, desc=raw_format.name) as progress:
        report.write_file(inter_file, write)
    return {"interactions": f"{n_interactions:,}", "users": _count(users), "items": _count(items)}


def _count(ids):
    return f"{len(ids):,}" if len(ids) <= _MOST_COUNTED else f"over {_MOST_COUNTED:,}"
