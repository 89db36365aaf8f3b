"""What is published on the sizes of data sets, to see that a conversion has all of one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

#: What is counted of a whole data set, and of one that has parts.
COUNTED = ("users", "items", "interactions", "train", "valid", "test")


@dataclass(frozen=True)
class PublishedCounts:
    """The published counts of a data set.

    Attributes
    ----------
    title : str
        What the data set is called.
    names : tuple of str
        What folders of it are called.
    counts : dict of str to int
        Those of `COUNTED` that are published.
    source : str
        Where they are from.
    """

    title: str
    names: tuple[str, ...]
    counts: Mapping[str, int]
    source: str


def published_counts() -> list[PublishedCounts]:
    """All that is known, of ``published_counts.csv``."""
    text = resources.files("recbole_sparse_elsa.convert").joinpath("published_counts.csv").read_text(encoding="utf-8")
    return [
        PublishedCounts(
            row["title"], tuple(row["name"].split()), {key: int(row[key]) for key in COUNTED if row[key]}, row["source"]
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def find_published_counts(name: str, counts: Mapping[str, int | None]) -> PublishedCounts | None:
    """The published counts of a data set, known by its counts or else by its name; None for one that is not known.

    Parameters
    ----------
    name : str
        The name of its folder.
    counts : mapping of str to int or None
        Of `COUNTED` what was counted; parts only where it has some.
    """
    has_parts = "train" in counts
    known = [published for published in published_counts() if ("train" in published.counts) == has_parts]
    for published in known:
        if all(counts.get(key) == number for key, number in published.counts.items()):
            return published
    return next((published for published in known if _plain(name) in map(_plain, published.names)), None)


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
