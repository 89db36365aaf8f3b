"""The file of a retrieval index: a safetensors file, which holds nothing but arrays and texts, read by memory mapping.

It begins with the length of its header (8 bytes), the header (JSON: type, shape and place of each array, and the
metadata) and the arrays, one after the other:

- ``values`` and ``columns``, the non-zeros of the item embeddings, row by row; in int4 as bits, see
  `recbole_sparse_elsa.index.bit_packing`;
- ``row_lengths``, the number of non-zeros of each row, unless all rows have as many and a column for each value;
- ``token_lengths`` and ``tokens``, the items' tokens in UTF-8, one after the other, and the bytes of each;
- ``popularity``, if it is known: the training interactions of each item, in as few bytes as the largest needs;
- ``item_scale``, if scores are scaled: the scale of each item, in float16.

The metadata are the format's version, the version of this package that wrote it, ``n_items``, ``embedding_size``,
``scales_input`` (True or False), ``made_by`` (the model in words), and the SHA-256 of the whole file, with zeros in
its own place. A file may come from a stranger: every size is checked against the file's before anything of that size
is made, and every array before it is used. Loading takes at most 60 times the size of the file, and 100 MB: most where
tokens are short, since a text of a byte is an object of 50 and an entry of a dictionary.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeVar

import numpy as np

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import IndexFileError, OptionError
from recbole_sparse_elsa.index import bit_packing
from recbole_sparse_elsa.index.encoding import MOST_DIMENSIONS, EncodedRows, smallest_unsigned
from recbole_sparse_elsa.options import require_regular_file
from recbole_sparse_elsa.output import write_file

FORMAT = "recbole_sparse_elsa index"
FORMAT_VERSION = 4  # 1 had no scales, 2 other small values than int4, 3 an exponent in the place of item_scale
# The types that a file may have, by safetensors' names.
_TYPES = {"F32": "<f4", "F16": "<f2", "I8": "|i1", "U8": "|u1", "U16": "<u2", "U32": "<u4"}
_NAMES = {np.dtype(value): name for name, value in _TYPES.items()}
_UNSIGNED = ("U8", "U16", "U32")
_ALLOWED_TYPES = {
    "values": ("F32", "F16", "I8", "U8"),
    "columns": _UNSIGNED,
    "row_lengths": _UNSIGNED,
    "token_lengths": _UNSIGNED,
    "tokens": ("U8",),
    "popularity": ("U8",),
    "item_scale": ("F16",),
}
# The encoding, by the type of the values.
_ENCODINGS = {np.dtype("<f4"): "float32", np.dtype("<f2"): "float16", np.dtype("|i1"): "int8", np.dtype("|u1"): "int4"}
_REQUIRED = {"values", "columns", "token_lengths", "tokens"}
_LONGEST_HEADER = 2**16
_NO_CHECKSUM = "0" * 64

_Made = TypeVar("_Made")


def write(
    path: str | os.PathLike[str],
    encoded: EncodedRows,
    item_tokens: np.ndarray,
    popularity: np.ndarray | None,
    item_scale: np.ndarray | None,
    scales_input: bool,
    made_by: str,
) -> None:
    """Write an index file, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file; it is replaced if it exists.
    encoded : EncodedRows
        The item embeddings.
    item_tokens : numpy.ndarray
        str, shape ``(n_items,)``.
    popularity : numpy.ndarray or None
        int64, shape ``(n_items,)``.
    item_scale : numpy.ndarray or None
        float16, shape ``(n_items,)``.
    scales_input : bool
        Whether an item of a history is divided by its scale.
    made_by : str
        See `SparseIndex`.

    Raises
    ------
    OutputError
        The file cannot be written.
    OptionError
        A token cannot be encoded.
    """
    arrays = _arrays(encoded, item_tokens, popularity, item_scale)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "package_version": recbole_sparse_elsa.__version__,
        "n_items": str(len(item_tokens)),
        "embedding_size": str(encoded.embedding_size),
        "scales_input": str(scales_input),
        "made_by": made_by,
        "sha256": _NO_CHECKSUM,
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    start = _start(json.dumps(header))
    checksum = hashlib.sha256(start)
    for array in arrays.values():
        checksum.update(array.data)
    start = start.replace(_NO_CHECKSUM.encode(), checksum.hexdigest().encode())

    def write_arrays(file: BinaryIO) -> None:
        file.write(start)
        for array in arrays.values():
            file.write(array.data)

    write_file(path, write_arrays)


def _arrays(
    encoded: EncodedRows, item_tokens: np.ndarray, popularity: np.ndarray | None, item_scale: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The arrays of the file by name; those of larger numbers first, so that each is aligned in the file."""
    try:
        tokens = [token.encode() for token in item_tokens]
    except UnicodeEncodeError as error:
        raise OptionError(f"item token {error.object!r} is not a text that UTF-8 can hold") from None
    row_lengths = np.diff(encoded.row_pointers)
    token_lengths = np.array([len(token) for token in tokens], dtype=np.int64)
    arrays = {"values": encoded.values, "columns": encoded.columns}
    if encoded.encoding == "int4":
        arrays["values"] = bit_packing.pack_values(encoded.values)
        arrays["columns"] = bit_packing.pack_columns(encoded.columns, row_lengths, encoded.embedding_size)
    if encoded.encoding == "int4" or row_lengths.min() < row_lengths.max():
        arrays["row_lengths"] = _small(row_lengths)
    arrays["token_lengths"] = _small(token_lengths)
    arrays["tokens"] = np.frombuffer(b"".join(tokens), dtype=np.uint8)
    if popularity is not None:
        n_bytes = _smallest_bytes(popularity)
        arrays["popularity"] = popularity.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :n_bytes]
    if item_scale is not None:
        arrays["item_scale"] = item_scale
    arrays = {
        name: np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        for name, array in arrays.items()
    }
    return dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))


def _smallest_bytes(counts: np.ndarray) -> int:
    """The number of bytes that the largest count needs, at least 1."""
    return max(1, (int(counts.max(initial=0)).bit_length() + 7) // 8)


def _small(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(smallest_unsigned(numbers.max(initial=0)))


def _start(header_text: str) -> bytes:
    """The first bytes of a file: the length of the header, and the header, filled up with blanks to 8 bytes."""
    header = header_text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def read(path: str | os.PathLike[str], make: Callable[..., _Made]) -> _Made:
    """Read an index file.

    Parameters
    ----------
    path : str or os.PathLike
        The file. It stays mapped, and must not be changed, while the arrays are in use.
    make : callable
        Gets an EncodedRows, the item tokens (str objects, shape ``(n_items,)``), the popularity (int64, shape
        ``(n_items,)``, or None), the scales of the items (float16, shape ``(n_items,)``, or None) and whether they
        scale the input (bool).

    Returns
    -------
    object
        What ``make`` returned.

    Raises
    ------
    IndexFileError
        The file is missing, cannot be read, is damaged, or is of another version of the format.
    """
    try:
        require_regular_file(path)
        contents = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        reason = getattr(error, "strerror", None) or "it is empty"
        raise IndexFileError(f"index file {path} cannot be read: {reason}") from None
    try:
        metadata, arrays = _read_header(contents)
        n_items, embedding_size = (_whole_number(metadata[name], name) for name in ("n_items", "embedding_size"))
        encoded = _embeddings(arrays, n_items, embedding_size)
        popularity = _popularity(arrays, n_items)
        scales_input = metadata["scales_input"]
        _require(scales_input in ("True", "False"), f"scales_input is {scales_input!r:.30}")
        made_by = metadata.get("made_by", "")  # version 0.1.0 did not write it
        _require(isinstance(made_by, str) and made_by.isprintable(), "made_by is no text")
        item_scale = arrays.get("item_scale")
        return make(encoded, _tokens(arrays, n_items), popularity, item_scale, scales_input == "True", made_by)
    except (_Damaged, OptionError) as error:
        raise IndexFileError(f"index file {path} cannot be used: {error}") from None


class _Damaged(Exception):
    """What is wrong with a file."""


def _require(condition: object, what: str) -> None:
    if not condition:
        raise _Damaged(f"it is damaged: {what}")


def _read_header(contents: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The metadata, and the arrays by name, after the version and the checksum were seen to be right."""
    not_ours = "it is not an index file of recbole_sparse_elsa"
    if len(contents) < 8:
        raise _Damaged(not_ours)
    length = int.from_bytes(contents[:8].tobytes(), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, len(contents) - 8):
        raise _Damaged(not_ours)
    start, data = contents[: 8 + length].tobytes(), contents[8 + length :]
    try:
        header = json.loads(start[8:].decode())
        metadata = header.pop("__metadata__")
        is_ours = metadata["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise _Damaged(not_ours)
    _require_format_version(metadata)
    checksum = metadata.get("sha256")
    is_checksum = isinstance(checksum, str) and re.fullmatch("[0-9a-f]{64}", checksum)
    _require(is_checksum, f"its checksum (SHA-256) is {checksum!r:.80}")
    computed = hashlib.sha256(start.replace(checksum.encode(), _NO_CHECKSUM.encode(), 1))
    computed.update(data.data)
    _require(checksum == computed.hexdigest(), "its checksum (SHA-256) is not that of its contents")
    complete = {"n_items", "embedding_size", "scales_input"} <= metadata.keys()
    _require(complete, "its metadata are not complete")
    _require(_REQUIRED <= header.keys() <= _ALLOWED_TYPES.keys(), "its arrays are not those of an index")
    end = 0
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        arrays[name], end = _array(name, entry, data, end)
    _require(end == len(data), "it is longer than its arrays")
    return metadata, arrays


def _require_format_version(metadata: Mapping[str, Any]) -> None:
    version = metadata.get("format_version")
    if version == str(FORMAT_VERSION):
        return
    shown = _shown(metadata, "format_version")
    written_by = f"recbole_sparse_elsa {_shown(metadata, 'package_version')} wrote it in version {shown} of the format"
    newer = isinstance(version, str) and version.isdecimal() and int(version[:9]) > FORMAT_VERSION
    remedy = "a newer recbole_sparse_elsa can read it" if newer else "make it again with sparse-elsa index"
    raise _Damaged(f"{written_by}, and this version reads {FORMAT_VERSION}: {remedy}")


def _shown(metadata: Mapping[str, Any], name: str) -> str:
    return str(metadata.get(name))[:30]


def _array(name: str, entry: Any, data: np.ndarray, begin: int) -> tuple[np.ndarray, int]:
    """An array, which must begin where the one before it ended, and the place where it ends."""
    try:
        type_name, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise _Damaged(f"it is damaged: the header does not describe {name}") from None
    _require(all(type(number) is int and number >= 0 for number in numbers), f"{name} has a size that is no size")
    _require(type_name in _ALLOWED_TYPES[name], f"{name} has type {type_name!r:.20}")
    _require(len(shape) == (2 if name == "popularity" else 1), f"{name} has {len(shape)} dimensions")
    dtype = np.dtype(_TYPES[type_name])
    n_bytes = dtype.itemsize
    for size in shape:
        n_bytes *= size
    _require(start == begin and end - start == n_bytes and end <= len(data), f"{name} is not where it should be")
    return data[start:end].view(dtype).reshape(shape), end


def _whole_number(text: Any, name: str) -> int:
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 19
    _require(is_number, f"{name} is {text!r:.30}")
    return int(text)


def _embeddings(arrays: Mapping[str, np.ndarray], n_items: int, embedding_size: int) -> EncodedRows:
    values, columns = arrays["values"], arrays["columns"]
    encoding = _ENCODINGS[values.dtype]
    _require(embedding_size <= MOST_DIMENSIONS, f"embedding_size is {embedding_size}")
    _require(len(arrays["token_lengths"]) == n_items, "there are not as many tokens as items")  # bounds n_items
    if "row_lengths" in arrays:
        _require(len(arrays["row_lengths"]) == n_items, "there are not as many row lengths as items")
        row_pointers = np.concatenate([[0], np.cumsum(arrays["row_lengths"], dtype=np.int64)])
    else:
        _require(encoding != "int4", "int4 needs row lengths")
        length = len(values) // max(n_items, 1)
        row_pointers = np.arange(n_items + 1) * length
    if encoding == "int4":
        _require(columns.dtype == np.uint8, f"columns has type {columns.dtype}, but holds bits")
        try:
            values = bit_packing.unpack_values(values, row_pointers[-1])
            columns = bit_packing.unpack_columns(columns, np.diff(row_pointers), embedding_size)
        except ValueError as error:
            raise _Damaged(f"it is damaged: {error}") from None
    _require(len(columns) == len(values), "there are not as many columns as values")
    _require(row_pointers[-1] == len(values), "the rows do not have as many values as there are")
    if len(values):
        _require(columns.max() < embedding_size, "a column is beyond embedding_size")
        is_first = np.zeros(len(columns) + 1, dtype=bool)
        is_first[row_pointers] = True
        _require(((columns[1:] > columns[:-1]) | is_first[1:-1]).all(), "the columns of a row do not rise")
        _require(np.isfinite(values).all(), "a value is not finite")
    encoded = EncodedRows(encoding, values, columns, row_pointers, embedding_size)
    _require(encoded.have_a_norm(), "a row does not have norm 1")
    return encoded


def _tokens(arrays: Mapping[str, np.ndarray], n_items: int) -> np.ndarray:
    ends = np.cumsum(arrays["token_lengths"], dtype=np.int64)
    text = arrays["tokens"].tobytes()
    _require((ends[-1] if n_items else 0) == len(text), "the tokens are not as long as they should be")
    tokens = np.empty(n_items, dtype=object)
    start = 0
    try:
        for position, end in enumerate(ends.tolist()):
            tokens[position] = text[start:end].decode()
            start = end
    except UnicodeDecodeError:
        raise _Damaged("it is damaged: a token is not UTF-8") from None
    return tokens


def _popularity(arrays: Mapping[str, np.ndarray], n_items: int) -> np.ndarray | None:
    if "popularity" not in arrays:
        return None
    counts = arrays["popularity"]
    _require(len(counts) == n_items and 1 <= counts.shape[1] <= 8, "popularity does not fit the items")
    wide = np.zeros((n_items, 8), dtype=np.uint8)
    wide[:, : counts.shape[1]] = counts
    counts = wide.view("<u8")[:, 0].astype(np.int64)
    _require((counts >= 0).all(), "a popularity is beyond 2**63")
    return counts
