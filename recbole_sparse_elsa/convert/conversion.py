"""Publishers' raw files made into a RecBole data set."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import BinaryIO

from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.convert.columns import ColumnOptions
from recbole_sparse_elsa.convert.forms import Form, form_of
from recbole_sparse_elsa.convert.item_metadata import item_file_text
from recbole_sparse_elsa.convert.published_counts import PublishedCounts, find_published_counts
from recbole_sparse_elsa.convert.split_files import PARTS, part_of
from recbole_sparse_elsa.errors import DatasetError, OptionError

# What a folder of a publisher holds; the first that is there counts.
FILES_OF_FOLDERS = ("ratings.csv", "ratings.dat", "mv_*.txt", "training_set/mv_*.txt", "combined_data_*.txt")
# And what the files of a fixed split in it end with.
_ENDINGS_OF_PARTS = (".txt", ".csv", ".tsv", ".dat", ".npz", ".parquet", ".json", ".jsonl")
# Beyond this many, users or items are not counted further, since their ids are held in memory (100 MB for this many).
MOST_COUNTED = 1_000_000
# Nor are repeated pairs, of which each takes eight bytes, and twice as many while they are compared.
_MOST_PAIRS = 20_000_000
_ROWS_AT_ONCE = 1_000
_FIELDS = {
    "user": "user_id:token",
    "item": "item_id:token",
    "rating": "rating:float",
    "timestamp": "timestamp:float",
}
#: The part of a data set without parts.
WHOLE = ""


@dataclass(frozen=True)
class Part:
    """What was written of a part of a data set.

    Attributes
    ----------
    name : str
        train, valid or test; "" for a data set without parts.
    file : str
        RecBole's .inter file.
    interactions : int
        Number of interactions.
    users, items : int or None
        Numbers of users and items; None for more than a million, which are not counted.
    """

    name: str
    file: str
    interactions: int
    users: int | None
    items: int | None


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote.

    Attributes
    ----------
    name : str
        The data set's name: that of its folder.
    parts : tuple of Part
        The parts of a fixed split, in the order train, valid, test; or one that is the whole.
    item_file : str or None
        RecBole's .item file; None where the publisher's file of items is not beside the source.
    users, items : int or None
        Numbers of users and items of all parts; None for more than a million, which are not counted.
    notes : tuple of str
        What is to be said of the data, in sentences.
    published : PublishedCounts or None
        What is published on the size of this data set, where it is known.
    """

    name: str
    parts: tuple[Part, ...]
    item_file: str | None
    users: int | None
    items: int | None
    notes: tuple[str, ...]
    published: PublishedCounts | None

    @property
    def inter_file(self) -> str:
        """RecBole's .inter file: that of the training data, where there are parts."""
        return self.parts[0].file

    @property
    def interactions(self) -> int:
        """Number of interactions of all parts."""
        return sum(part.interactions for part in self.parts)

    @property
    def counts(self) -> dict[str, int | None]:
        """The counts by the names that published ones have; those of parts only where there are parts."""
        counts = {"users": self.users, "items": self.items, "interactions": self.interactions}
        return counts | {part.name: part.interactions for part in self.parts if part.name != WHOLE}


def convert(
    sources: Sequence[str],
    folder: str,
    overwrite: bool = False,
    columns: ColumnOptions | None = None,
    parts: Mapping[str, str] | None = None,
) -> Conversion:
    """Make a RecBole data set of raw files.

    The kind of a file is seen from its first line, unless its columns are named. Files are read line by line, so that
    their size does not matter. Every interaction is kept, also where a user and an item occur together more than once.

    Parameters
    ----------
    sources : sequence of str
        Raw files of one kind, or folders that hold them. Where their names tell train, valid and test, they are the
        parts of a fixed split.
    folder : str
        The data set's folder; its name is the data set's. FOLDER/NAME.inter is written, or FOLDER/NAME.train.inter and
        so on, and, where the publisher's file of items is beside the first source, FOLDER/NAME.item.
    overwrite : bool
        Replace the files of a data set of this name where they exist.
    columns : ColumnOptions, optional
        What the columns are; by default publishers' forms are recognised.
    parts : mapping of str to str, optional
        Files of train, valid and test, whatever they are called; instead of ``sources``.

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
    files = _files_of_parts(sources, parts or {})
    all_files = [file for part in files.values() for file in part]
    targets = {part: os.path.join(folder, f"{name}{'.' * bool(part)}{part}.inter") for part in (WHOLE, *PARTS)}
    item_file = os.path.join(folder, f"{name}.item")
    existing = [file for file in (*targets.values(), item_file) if os.path.exists(file)]
    if existing and not overwrite:
        raise OptionError(f"output: {existing[0]} exists already; give another folder, or --overwrite to replace it")
    for file in existing:
        if any(os.path.samefile(file, source) for source in all_files):
            raise OptionError(f"output: {file} is a source, too, and would be replaced; give another folder")
    form = form_of(all_files, columns or ColumnOptions())
    item_text = item_file_text(os.path.dirname(all_files[0]), form)
    counts = _Counts(has_parts=WHOLE not in files)
    with _output_folder(folder), output.reserve_folder(folder):
        size = sum(map(os.path.getsize, all_files))
        with tqdm(total=size, unit="B", unit_scale=True, desc=form.name) as progress:
            _write_parts([(part, targets[part], files[part]) for part in files], form, progress, counts)
        if item_text is not None:
            output.write_text(item_file, item_text)
        # What is left of the data set that is replaced would be taken for a part of this one.
        written = [targets[part] for part in files] + [item_file] * (item_text is not None)
        for file in existing:
            if file not in written:
                os.remove(file)
    conversion = Conversion(
        name,
        tuple(counts.parts),
        None if item_text is None else item_file,
        *counts.totals(),
        (*form.notes(), *counts.notes()),
        None,
    )
    return dataclasses.replace(conversion, published=find_published_counts(name, conversion.counts))


def _files_of_parts(sources: Sequence[str], parts: Mapping[str, str]) -> dict[str, list[str]]:
    """The files of each part, in the order of `PARTS`; or all files as the whole."""
    if parts:
        if sources:
            raise OptionError(f"source is {sources[0]}, but is not allowed beside --train, --valid and --test")
        for part, file in parts.items():
            if not os.path.isfile(file):
                raise OptionError(f"{part}: {file} was not found, or is no file; give a raw file")
        files = {part: [parts[part]] for part in PARTS if part in parts}
    elif not sources:
        raise OptionError("source is missing; give raw files, or the folder that holds them, or --train and --test")
    else:
        found = _source_files(sources)
        part_of_file = {file: part_of(file) for file in found}
        named = set(part_of_file.values())
        if len(named) == 1:
            return {WHOLE: found}
        if None in named:
            other = next(file for file, part in part_of_file.items() if part is None)
            part_file = next(file for file, part in part_of_file.items() if part is not None)
            raise OptionError(
                f"source: {part_file} is a part of a fixed split by its name, and {other} is not; give --train, "
                "--valid and --test, or rename the file"
            )
        files = {part: [file for file in found if part_of_file[file] == part] for part in PARTS if part in named}
    for part in ("train", "test"):
        if part not in files:
            raise OptionError(f"{part} is missing, but a fixed split must have it; give --{part} FILE")
    for part, of_part in files.items():
        if len(of_part) > 1:
            raise OptionError(
                f"source: {of_part[0]} and {of_part[1]} are both {part} by their names; give --{part} FILE"
            )
    return files


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
            found = _parts_in(source)
        if not found:
            raise OptionError(
                f"source: folder {source} has no {', '.join(FILES_OF_FOLDERS)}, nor train.txt and test.txt; give the "
                "file itself"
            )
        files += sorted(found)
    return files


def _parts_in(folder: str) -> list[str]:
    """The files in a folder that are parts of a fixed split by their names and endings."""
    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    found = [
        file
        for file in files
        if os.path.isfile(file) and part_of(file) and file.lower().removesuffix(".gz").endswith(_ENDINGS_OF_PARTS)
    ]
    return found if {"train", "test"} <= set(map(part_of, found)) else []


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


class _Counts:
    """Counts users, items and interactions of parts, and of a fixed split the pairs that occur more than once."""

    def __init__(self, has_parts: bool) -> None:
        self.parts: list[Part] = []
        self._users = _Numbers()
        self._items = _Numbers()
        # Of each part its pairs as one number each; None where they are not counted.
        self._pairs: list[array] | None = [] if has_parts else None
        self._has_parts = has_parts

    def read(self, part: str, file: str, rows: Iterable[list[tuple[str, ...]]]) -> Iterator[list[tuple[str, ...]]]:
        """Give lists of interactions of a part as they are, and count them; the part is noted at the end."""
        n_interactions, users, items = 0, set[str](), set[str]()
        if self._pairs is not None:
            self._pairs.append(array("q"))
        for some in rows:
            n_interactions += len(some)
            if len(users) <= MOST_COUNTED:
                users.update(map(itemgetter(0), some))
            if len(items) <= MOST_COUNTED:
                items.update(map(itemgetter(1), some))
            if self._pairs is not None:
                self._pairs[-1].extend([self._users[row[0]] << 32 | self._items[row[1]] for row in some])
                if sum(map(len, self._pairs)) > _MOST_PAIRS or max(len(self._users), len(self._items)) > MOST_COUNTED:
                    self._pairs = None
            yield some
        self.parts.append(Part(part, file, n_interactions, _count(users), _count(items)))

    def totals(self) -> tuple[int | None, int | None]:
        """The numbers of users and items of all parts."""
        if self._has_parts:
            return (None, None) if self._pairs is None else (_count(self._users), _count(self._items))
        return self.parts[0].users, self.parts[0].items

    def notes(self) -> list[str]:
        """Which pairs occur more than once, in sentences; of fixed splits only."""
        if not self._has_parts:
            return []
        if self._pairs is None:
            return ["Whether pairs of user and item occur more than once was not counted, since there are too many."]
        import numpy as np

        said, parts = [], [np.unique(np.frombuffer(pairs, dtype=np.int64)) for pairs in self._pairs]
        for part, unique in zip(self.parts, parts):
            if len(unique) < part.interactions:
                said.append(f"{part.name} has {part.interactions - len(unique):,} repeated pairs of user and item.")
        for place, part in enumerate(self.parts):
            for before in range(place):
                both = len(np.intersect1d(parts[before], parts[place], assume_unique=True))
                if both:
                    said.append(f"{both:,} pairs of {part.name} are in {self.parts[before].name}, too.")
        return said or ["Every pair of user and item occurs once, in one of the parts."]


class _Numbers(dict[str, int]):
    """Numbers ids from 0 in the order in which they are asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


def _write_parts(parts: Sequence[tuple[str, str, Sequence[str]]], form: Form, progress: tqdm, counts: _Counts) -> None:
    """Write the files of parts (name, file, sources), all or none: each gets its name once all are complete."""
    (part, target, sources), *others = parts

    def write(file: BinaryIO) -> None:
        file.write(("\t".join(_FIELDS[field] for field in form.fields) + "\n").encode())
        rows = (row for source in sources for row in form.read(source, progress))
        chunks = iter(lambda: list(islice(rows, _ROWS_AT_ONCE)), [])
        for some in counts.read(part, target, chunks):
            file.write(("\n".join(map("\t".join, some)) + "\n").encode())
        if counts.parts[-1].interactions == 0:
            raise DatasetError(f"{', '.join(sources[:3])}: no interaction follows the first line")
        if others:
            _write_parts(others, form, progress, counts)

    output.write_file(target, write)


def _count(ids: set[str] | dict[str, int]) -> int | None:
    return len(ids) if len(ids) <= MOST_COUNTED else None
