"""What RecBole's .item file tells of items: what to call them, their years, and the words and genres that they have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_sparse_elsa.data.atomic_files import read_atomic_file
from recbole_sparse_elsa.errors import DatasetError, OptionError

_TEXT_TYPES = ("token", "token_seq")
_TITLE = re.compile("title|name", re.IGNORECASE)
_CREATOR = re.compile("author|artist|director|brand", re.IGNORECASE)
_YEAR = re.compile("year|released?|publi(shed|cation)", re.IGNORECASE)
_GENRE = re.compile("genre|categor|^class$|^tags?$", re.IGNORECASE)
_GENRES_IN_DETAIL = 3
# Fields of codes, by the parts of their names, and by values such as "eng" or "en-US": they tell a reader nothing.
_CODE_PARTS = {
    *("lang", "language", "languages", "locale", "country", "countries", "id", "ids", "isbn", "isbn10", "isbn13"),
    *("asin", "ean", "upc", "sku", "url", "urls", "uri", "link", "image", "images", "img", "poster", "thumbnail"),
}
_LANGUAGE = re.compile("[a-z]{2,3}([-_][A-Za-z]{2,4})?")


@dataclass(frozen=True)
class ItemMetadata:
    """The metadata of a catalogue's items.

    Attributes
    ----------
    labels : list of str
        What each item is called: its title, or its token where it has none; shape ``(n_items,)``.
    terms : list of list of str
        The distinct words, genres and tags of each item, none of which is a mere number; shape ``(n_items,)``.
    fields : dict of str to list of list of str
        The values of each field of each item, as they are written.
    details : list of str, optional
        What stands below a label on a page, such as ``1995 · Animation, Comedy``; empty where nothing is known.
    """

    labels: list[str]
    terms: list[list[str]]
    fields: dict[str, list[list[str]]]
    details: list[str] | None = None


def read_item_file(
    path: str | os.PathLike[str],
    item_tokens: Sequence[str],
    term_fields: Sequence[str] | None = None,
    item_id_field: str = "item_id",
) -> ItemMetadata:
    """Read the metadata of items from RecBole's atomic file NAME.item.

    Parameters
    ----------
    path : str or os.PathLike
        Read by the rules of `data.atomic_files`. Fields of type token have one value, those of type token_seq several,
        separated by blanks; others are passed over, but for a year. The first field with "title" or "name" in its
        name, or else the first of type token_seq that holds no codes, says what an item is called. The first ones with
        "year" (or released, published), with "genre" (or category, class, tag) and with "author" (or artist, director,
        brand) make its details.
    item_tokens : sequence of str
        The items, in the order of the result. Those that the file does not have get no terms.
    term_fields : sequence of str, optional
        The fields whose values are terms; by default all of type token and token_seq, but for those of codes: with
        language, country, id, isbn, url or the like in their names, or with nothing but values such as ``eng`` and
        ``en-US``.
    item_id_field : str
        The field with the item's token.

    Returns
    -------
    ItemMetadata

    Raises
    ------
    DatasetError
        The file cannot be read, breaks a rule of the format, or does not have ``item_id_field``.
    OptionError
        The file does not have one of ``term_fields``.
    """
    import pandas as pd

    try:
        read = read_atomic_file(path)
    except DatasetError as error:
        raise DatasetError(f"item file {error}") from None
    types = read.types
    if types.get(item_id_field) != "token":
        raise DatasetError(f"item file {path}: the header must have {item_id_field}:token, but has {', '.join(types)}")
    table = pd.DataFrame(read.columns)
    fields = [name for name in types if types[name] in _TEXT_TYPES and name != item_id_field]
    for name in term_fields or ():
        if name not in fields:
            raise OptionError(f"field {name} is not in item file {path}, which has {', '.join(fields) or 'none'}")
    table = table.drop_duplicates(item_id_field).set_index(item_id_field)
    table = table.reindex(list(item_tokens), fill_value="").fillna("")
    values = {
        name: [text.split() if types[name] == "token_seq" else [text] * bool(text) for text in table[name]]
        for name in fields
    }
    of_words = [name for name in fields if not _has_codes(name, values[name])]
    terms = [_terms(texts) for texts in zip(*(values[name] for name in term_fields or of_words))]
    title = next((name for name in fields if _TITLE.search(name)), None)
    title = title or next((name for name in of_words if types[name] == "token_seq"), None)
    titles = table[title].str.strip() if title else [""] * len(table)
    return ItemMetadata(
        labels=[label or token for label, token in zip(titles, item_tokens)],
        terms=terms or [[] for _ in item_tokens],
        fields=values,
        details=_details({name: list(table[name]) for name in types if name not in (title, item_id_field)}, types)
        or [""] * len(table),
    )


def _has_codes(name: str, values: list[list[str]]) -> bool:
    parts = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    distinct = {value for of_item in values for value in of_item}
    return not _CODE_PARTS.isdisjoint(parts) or (bool(distinct) and all(map(_LANGUAGE.fullmatch, distinct)))


def _details(texts_of: dict[str, list[Any]], types: dict[str, str]) -> list[str]:
    """When each item was made, its genres, and who made it, as far as the fields tell; nothing if none does."""

    def year(text: object) -> str:
        found = re.search(r"(?<![\d-])(1\d|20)\d\d(?!\d)", str(text))
        return found.group() if found else ""

    def genres(text: str) -> str:
        values = text.split() if types[genre] == "token_seq" else re.split(r"[|,;]", text)
        return ", ".join([value.strip() for value in values if value.strip()][:_GENRES_IN_DETAIL])

    of_words = [name for name in texts_of if types[name] in _TEXT_TYPES]
    creator, genre = (next(filter(kind.search, of_words), "") for kind in (_CREATOR, _GENRE))
    parts = [
        [written(text) for text in texts_of[name]]
        for name, written in ((next(filter(_YEAR.search, texts_of), ""), year), (genre, genres), (creator, str.strip))
        if name
    ]
    return [" · ".join(filter(None, of_item)) for of_item in zip(*parts)]


def _terms(texts: Iterable[Iterable[str]]) -> list[str]:
    """The distinct terms of one item from its values, without marks around them, stop words and numbers."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    terms: dict[str, str] = {}
    for values in texts:
        for value in values:
            term = value.strip(".,:;!?()[]{}\"'#&*/-")
            if len(term) > 1 and any(map(str.isalpha, term)) and term.lower() not in ENGLISH_STOP_WORDS:
                terms.setdefault(term.lower(), term)
    return list(terms.values())
