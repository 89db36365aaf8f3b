"""Publishers' raw files made into a RecBole data set."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.convert.item_metadata import item_file_text
from recbole_sparse_elsa.convert.raw_formats import RawFormat, read_interactions, recognise
from recbole_sparse_elsa.errors import DatasetError, OptionError

# What a folder of a publisher holds; the first that is there counts.
FILES_OF_FOLDERS = ("ratings.csv", "ratings.dat", "mv_*.txt", "training_set/mv_*.txt", "combined_data_*.txt")
# Beyond this many, users or items are not counted further, since their ids are held in memory (100 MB for this many).
MOST_COUNTED = 1_000_000


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote.

    Attributes
    ----------
    name : str
        The data set's name: that of its folder.
    inter_file : str
        RecBole's .inter file.
    item_file : str or None
        RecBole's .item file; None where the publisher's file of items is not beside the source.
    interactions : int
        Number of interactions.
    users, items : int or None
        Numbers of users and items; None for more than a million, which are not counted.
    """

    name: str
    inter_file: str
    item_file: str | None
    interactions: int
    users: int | None
    items: int | None


def convert(sources: Sequence[str], folder: str, overwrite: bool = False) -> Conversion:
    """Make a RecBole data set of publishers' raw files.

    The kind of a file is seen from its first line. Files are read line by line, so that their size does not matter.
    Every interaction is kept, also where a user and an item occur together more than once.

    Parameters
    ----------
    sources : sequence of str
        Raw files of one kind, or folders that hold them.
    folder : str
        The data set's folder; its name is the data set's. FOLDER/NAME.inter is written and, where the publisher's file
        of items is beside the first source, FOLDER/NAME.item.
    overwrite : bool
        Replace these files where they exist.

    Returns
    -------
    Conversion

    Raises
    ------
    OptionError
        A source does not exist, or the output exists already, has no name or cannot be written (OutputError).
    DatasetError
        A source is not of a known kind, or damaged.
    """
    folder = os.path.normpath(folder)
    name = os.path.basename(os.path.abspath(folder))
    if not name:
        raise OptionError(f"output is {folder}, which has no name; give a folder whose name the data set is to have")
    inter_file, item_file = (os.path.join(folder, f"{name}.{suffix}") for suffix in ("inter", "item"))
    existing = [file for file in (inter_file, item_file) if os.path.exists(file)]
    if existing and not overwrite:
        raise OptionError(f"output: {existing[0]} exists already; give another folder, or --overwrite to replace it")
    files = _source_files(sources)
    raw_format = _common_format(files)
    item_text = item_file_text(os.path.dirname(files[0]), raw_format)
    with _output_folder(folder), output.reserve_folder(folder):
        counts = _write_interactions(inter_file, files, raw_format)
        if item_text is not None:
            output.write_text(item_file, item_text)
        elif os.path.exists(item_file):
            os.remove(item_file)  # of the data set that is replaced
    return Conversion(name, inter_file, None if item_text is None else item_file, *counts)


def _source_files(sources: Sequence[str]) -> list[str]:
    files: list[str] = []
    for source in sources:
        if os.path.isfile(source):
            files.append(source)
            continue
        if not os.path.isdir(source):
            raise OptionError(f"source: {source} was not found; give a raw file, or the folder that holds it")
        patterns = (os.path.join(glob.escape(source), *pattern.split("/")) for pattern in FILES_OF_FOLDERS)
        found = next(filter(None, map(glob.glob, patterns)), None)
        if found is None:
            raise OptionError(f"source: folder {source} has no {', '.join(FILES_OF_FOLDERS)}; give the file itself")
        files += sorted(found)
    return files


def _common_format(files: Sequence[str]) -> RawFormat:
    first = recognise(files[0])
    for file in files[1:]:
        other = recognise(file)
        if other is not first:
            raise DatasetError(f"{files[0]} is {first.name}, but {file} is {other.name}; give files of one kind")
    return first


@contextlib.contextmanager
def _output_folder(folder: str) -> Iterator[None]:
    """Make the folder where it is missing, and take it away again after an error.

    Raises
    ------
    OutputError
        It cannot be made or written to.
    """
    missing, parent = list[str](), os.path.abspath(folder)
    while not os.path.exists(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    try:
        yield
    except BaseException:
        for made in missing:
            with contextlib.suppress(OSError):
                os.rmdir(made)
        raise


def _write_interactions(
    inter_file: str, files: Sequence[str], raw_format: RawFormat
) -> tuple[int, int | None, int | None]:
    """Write the .inter file, and return the numbers of interactions, users and items."""
    n_interactions = 0
    users: set[str] = set()
    items: set[str] = set()

    def write(file: BinaryIO) -> None:
        nonlocal n_interactions
        timestamp = "\ttimestamp:float" if raw_format.has_timestamp else ""
        file.write(f"user_id:token\titem_id:token\trating:float{timestamp}\n".encode())
        for row in read_interactions(files, raw_format, progress):
            file.write(("\t".join(row) + "\n").encode())
            n_interactions += 1
            if len(users) <= MOST_COUNTED:
                users.add(row[0])
            if len(items) <= MOST_COUNTED:
                items.add(row[1])
        if n_interactions == 0:
            raise DatasetError(f"{', '.join(files[:3])}: no interaction follows the first line")

    size = sum(map(os.path.getsize, files))
    with tqdm(total=size, unit="B", unit_scale=True, desc=raw_format.name) as progress:
        output.write_file(inter_file, write)
    return n_interactions, _count(users), _count(items)


def _count(ids: set[str]) -> int | None:
    return len(ids) if len(ids) <= MOST_COUNTED else None
