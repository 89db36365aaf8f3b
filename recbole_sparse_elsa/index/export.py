"""The item embeddings of an index for other engines: a Parquet file, or a collection of Qdrant."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index.sparse_index import Recommendations, SparseIndex
from recbole_sparse_elsa.output import progress, write_file

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# The name of the sparse vectors in a collection of Qdrant.
VECTOR_NAME = "sparse_elsa"
_ROWS_OF_A_GROUP = 100_000


def write_parquet(index: SparseIndex, file: str) -> None:
    """Write a Parquet file with a row for each item: ``item`` (string), ``indices`` and ``values`` (lists).

    ``indices`` (int32, rising) are the latent dimensions of the non-zeros, ``values`` (float32) the non-zeros; rows
    have norm 1, or the item's scale as their norm, and stand in the index's order. The score of an item is the inner
    product with a user's vector.

    Parameters
    ----------
    index : SparseIndex
        The index.
    file : str
        The file; it is replaced if it exists.

    Raises
    ------
    OptionError
        pyarrow is not installed.
    OutputError
        The file cannot be written.
    """
    _require("pyarrow", 'export to Parquet needs pyarrow; run: pip install "recbole_sparse_elsa[parquet]"')
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(
        {
            "item": pyarrow.string(),
            "indices": pyarrow.list_(pyarrow.int32()),
            "values": pyarrow.list_(pyarrow.float32()),
        }
    )

    def write(opened: BinaryIO) -> None:
        with parquet.ParquetWriter(opened, schema) as writer:
            for start, rows in _batches(index, _ROWS_OF_A_GROUP, "Parquet"):
                pointers = pyarrow.array(rows.indptr, pyarrow.int32())
                columns = [
                    pyarrow.array(index.item_tokens[start : start + rows.shape[0]], pyarrow.string()),
                    pyarrow.ListArray.from_arrays(pointers, pyarrow.array(rows.indices, pyarrow.int32())),
                    pyarrow.ListArray.from_arrays(pointers, pyarrow.array(rows.data, pyarrow.float32())),
                ]
                writer.write_table(pyarrow.table(columns, schema=schema))

    write_file(file, write)


def open_qdrant(url: str | None = None, path: str | None = None) -> QdrantClient:
    """A qdrant_client.QdrantClient of a server, or of a folder of this machine (Qdrant's local mode).

    Parameters
    ----------
    url : str, optional
        Address of a server, such as http://localhost:6333. Its key is taken from the environment variable
        ``QDRANT_API_KEY``.
    path : str, optional
        The folder; one of the two must be given.

    Raises
    ------
    OptionError
        qdrant-client is not installed, the address is none, or the folder is in use.
    """
    _require("qdrant_client", 'Qdrant needs its client; run: pip install "recbole_sparse_elsa[qdrant]"')
    from qdrant_client import QdrantClient

    if url is not None:
        try:
            return QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"))
        except Exception as error:  # the client's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OptionError(f"url is {url}, but must be an address such as http://localhost:6333: {reason}") from None
    try:
        return QdrantClient(path=path)
    except (RuntimeError, OSError) as error:
        raise OptionError(f"path: {path} cannot be opened by Qdrant: {str(error).splitlines()[0]}") from None


def fill_qdrant(index: SparseIndex, client: QdrantClient, collection: str, batch_size: int = 1000) -> int:
    """Make a collection of Qdrant hold the items of an index, and nothing else.

    Points are numbered as the items stand in the index, and have the sparse vector ``sparse_elsa`` and the payload
    ``item`` (the token) and ``index`` (which index they are from). Points that are there already, of a call that was
    interrupted, are not sent again; those of an earlier index are replaced, or deleted.

    Parameters
    ----------
    index : SparseIndex
        The index.
    client : qdrant_client.QdrantClient
        See `open_qdrant`.
    collection : str
        Its name; it is made if it does not exist.
    batch_size : int
        Items sent at a time.

    Returns
    -------
    int
        Number of points that were sent.

    Raises
    ------
    OptionError
        The collection exists and has other vectors, or Qdrant cannot be reached or refuses.
    """
    try:
        return _fill_qdrant(index, client, collection, batch_size)
    except OptionError:
        raise
    except Exception as error:  # the client's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OptionError(f"Qdrant cannot fill collection {collection}: {reason}; run again to go on") from error


def _fill_qdrant(index: SparseIndex, client: QdrantClient, collection: str, batch_size: int) -> int:
    from qdrant_client import models

    if not client.collection_exists(collection):
        client.create_collection(
            collection, vectors_config={}, sparse_vectors_config={VECTOR_NAME: models.SparseVectorParams()}
        )
    parameters = client.get_collection(collection).config.params
    if parameters.vectors or list(parameters.sparse_vectors or ()) != [VECTOR_NAME]:
        raise OptionError(
            f"collection {collection} has other vectors than {VECTOR_NAME}: it is not one that this command made, and "
            "is left as it is; give another name"
        )
    name, n_sent = _name_of(index), 0
    for start, rows in _batches(index, batch_size, "Qdrant"):
        positions = range(start, start + rows.shape[0])
        there = client.retrieve(collection, list(positions), with_payload=["index"])
        done = {point.id for point in there if point.payload.get("index") == name}
        points = [
            models.PointStruct(
                id=position,
                vector={VECTOR_NAME: _sparse_vector(*_row(rows, position - start))},
                payload={"item": index.item_tokens[position], "index": name},
            )
            for position in positions
            if position not in done
        ]
        if points:
            client.upsert(collection, points)
            n_sent += len(points)
    of_this_index = models.FieldCondition(key="index", match=models.MatchValue(value=name))
    client.delete(collection, models.FilterSelector(filter=models.Filter(must_not=[of_this_index])))
    return n_sent


def recommend_from_qdrant(
    index: SparseIndex, client: QdrantClient, collection: str, history: Sequence[str], n: int
) -> Recommendations:
    """The n best items for a user, found by Qdrant: those of ``index.recommend(history, n)`` with a positive score.

    Parameters
    ----------
    index : SparseIndex
        The index from which the collection was filled; it gives the user's vector.
    client, collection
        As of `fill_qdrant`.
    history : sequence of str
        The user's item tokens; they are left out.
    n : int
        Number of items; there may be fewer.

    Raises
    ------
    OptionError
        The index has no item of the history.
    """
    from qdrant_client import models

    user_vector = index.user_vector(history)
    dimensions = np.flatnonzero(user_vector)
    if len(dimensions) == 0:
        raise OptionError("the index has no item of this history")
    known = [index.position(item) for item in dict.fromkeys(history) if item in index]
    found = client.query_points(
        collection,
        query=_sparse_vector(dimensions, user_vector[dimensions]),
        using=VECTOR_NAME,
        query_filter=models.Filter(must_not=[models.HasIdCondition(has_id=known)]),
        limit=n,
        with_payload=["item"],
    ).points
    found = [point for point in found if point.score > 0]
    items = np.array([point.payload["item"] for point in found], dtype=object)
    scores = np.array([point.score for point in found], dtype=np.float32)
    return Recommendations(items, scores, [item for item in dict.fromkeys(history) if item not in index])


def _require(module: str, message: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise OptionError(message)


def _batches(index: SparseIndex, size: int, name: str) -> Iterator[tuple[int, csr_matrix]]:
    """Yield the position of the first item, and the rows (CSR), of each batch of items."""
    with progress(name, index.n_items, "item") as bar:
        for start in range(0, index.n_items, size):
            rows = index.scored_rows(slice(start, start + size))
            yield start, rows
            bar.update(rows.shape[0])


def _row(rows: csr_matrix, place: int) -> tuple[np.ndarray, np.ndarray]:
    entries = slice(*rows.indptr[place : place + 2])
    return rows.indices[entries], rows.data[entries]


def _sparse_vector(dimensions: np.ndarray, weights: np.ndarray) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=dimensions.tolist(), values=weights.tolist())


def _name_of(index: SparseIndex) -> str:
    """Sixteen hexadecimal digits that tell this index from others."""
    contents = hashlib.sha256()
    rows = index.scored_rows()
    for array in (rows.indptr, rows.indices, rows.data):
        contents.update(np.ascontiguousarray(array).data)
    for token in index.item_tokens:
        contents.update(token.encode() + b"\n")
    return contents.hexdigest()[:16]
