"""What an encoding of the index costs: NDCG@100 of a model whose item embeddings went through it, and bytes an item."""

import os
import tempfile
from dataclasses import dataclass

import torch
from recbole.config import Config

from recbole_sparse_elsa import output
from recbole_sparse_elsa.core.sparse_rows import SparseRows
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.index.encoding import smallest_unsigned
from recbole_sparse_elsa.options import derived_config
from recbole_sparse_elsa.runs import SavedRun
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, load_data
from recbole_sparse_elsa.value_types import VALUE_TYPES

_K = 16
_TOP = 100

_EXPLANATION = """
NDCG@100 on the test data of {name}, by RecBole's evaluation, with the item embeddings as each encoding gives them back
({nonzeros:.4g} non-zeros an item, d = {embedding_size}). Sizes are those of index files, all included; "without tokens"
is without the items' tokens and their lengths.
"""


@dataclass(frozen=True)
class EncodingLoss:
    """One encoding.

    Attributes
    ----------
    encoding : str
        float32, float16, int8 or int4.
    ndcg : float
        NDCG@100 on the test data.
    loss : float
        What of float32's NDCG@100 is lost.
    bytes_per_item, bytes_per_item_without_tokens : float
        Size of the index file, by the number of items.
    """

    encoding: str
    ndcg: float
    loss: float
    bytes_per_item: float
    bytes_per_item_without_tokens: float

    def readable(self) -> dict[str, str]:
        """A row of the table."""
        return {
            "encoding": self.encoding,
            "NDCG@100": f"{self.ndcg:.5f}",
            "loss": f"{self.loss:.5f}",
            "bytes an item": f"{self.bytes_per_item:.2f}",
            "without tokens": f"{self.bytes_per_item_without_tokens:.2f}",
        }


@dataclass(frozen=True)
class EncodingLosses:
    """All encodings, and a text that says on what they were measured."""

    rows: list[EncodingLoss]
    explanation: str


def encoding_losses(checkpoint: str | None = None, data_path: str | None = None) -> EncodingLosses:
    """Measure every encoding on a trained model.

    Parameters
    ----------
    checkpoint : str, optional
        A RecBole checkpoint; by default a SparseELSA with 16 non-zeros is trained on ml-100k.
    data_path : str, optional
        As of `SavedRun`.

    Raises
    ------
    OptionError
        The model has fewer than 100 items.
    CheckpointError, DatasetError
        See `SavedRun.make_index`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if checkpoint is None:
            checkpoint = _train(folder)
        run = SavedRun(checkpoint, data_path)
        index = run.index
        if index.n_items < _TOP:
            raise OptionError(
                f"checkpoint {checkpoint} holds {index.n_items} items, but NDCG@{_TOP} needs at least {_TOP}"
            )
        protocol = {"metrics": ["NDCG"], "topk": [_TOP], "valid_metric": f"NDCG@{_TOP}", "metric_decimal_place": 10}
        config = derived_config(run.config, **protocol)
        with away_from_the_command_line():
            trainer = create_trainer(config, run.data.train_data)
            rows: list[EncodingLoss] = []
            for encoding in VALUE_TYPES:
                encoded = SparseIndex(
                    index.item_embeddings,
                    index.item_tokens,
                    encoding=encoding,
                    popularity=index.popularity,
                    item_scale=index.item_scale,
                    scales_input=index.scales_input,
                )
                decoded = encoded.item_embeddings
                values, columns, pointers = map(torch.from_numpy, (decoded.data, decoded.indices, decoded.indptr))
                trainer.model.item_embedding.load_csr(SparseRows(values, columns, pointers, decoded.shape))
                result = trainer.evaluate(run.data.test_data, load_best_model=False, show_progress=False)
                ndcg = result[f"ndcg@{_TOP}"]
                rows.append(_row(folder, encoded, ndcg, rows[0].ndcg if rows else ndcg))
            trainer.tensorboard.close()
    explanation = output.paragraph(
        _EXPLANATION,
        name=config["dataset"],
        nonzeros=index.n_nonzeros / index.n_items,
        embedding_size=index.embedding_size,
    )
    return EncodingLosses(rows, explanation)


def _train(folder):
    with away_from_the_command_line():
        config_dict = {"k": _K, "checkpoint_dir": folder, "state": "ERROR", "show_progress": False, "use_gpu": False}
        config = Config("SparseELSA", "ml-100k", config_dict=config_dict)
        data = load_data(config)
        trainer = create_trainer(config, data.train_data)
        trainer.fit(data.train_data, data.valid_data)
        trainer.tensorboard.close()
        return trainer.saved_model_file


def _row(folder, index, ndcg, ndcg_of_float32):
    file = os.path.join(folder, f"{index.encoding}.index")
    index.save(file)
    n_bytes = os.path.getsize(file)
    lengths = [len(token.encode()) for token in index.item_tokens]
    n_token_bytes = sum(lengths) + len(lengths) * smallest_unsigned(max(lengths)).itemsize
    return EncodingLoss(
        index.encoding,
        ndcg,
        ndcg_of_float32 - ndcg,
        n_bytes / index.n_items,
        (n_bytes - n_token_bytes) / index.n_items,
    )
