"""What an encoding of the index costs: NDCG@100 of a model whose item embeddings went through it, and bytes an item."""

import os
import tempfile
from dataclasses import dataclass

import torch
from recbole.config import Config

from recbole_sparse_elsa import report
from recbole_sparse_elsa.checkpoint import read_checkpoint
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.experiment import away_from_the_command_line, create_trainer, load_data
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.index.encoding import ENCODINGS, smallest_unsigned
from recbole_sparse_elsa.index.from_checkpoint import find_data, index_from_checkpoint

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

    def readable(self) -> dict:
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

    rows: list
    explanation: str


def encoding_losses(checkpoint=None, data_path=None) -> EncodingLosses:
    """Measure every encoding on a trained model.

    Parameters
    ----------
    checkpoint : str, optional
        A RecBole checkpoint; by default a SparseELSA with 16 non-zeros is trained on ml-100k.
    data_path : str, optional
        As of `index_from_checkpoint`.

    Raises
    ------
    OptionError
        The model has fewer than 100 items.
    CheckpointError, DatasetError
        See `index_from_checkpoint`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if checkpoint is None:
            checkpoint = _train(folder)
        index = index_from_checkpoint(checkpoint, data_path=data_path)
        if index.n_items < _TOP:
            raise OptionError(
                f"checkpoint {checkpoint} holds {index.n_items} items, but NDCG@{_TOP} needs at least {_TOP}"
            )
        config = _evaluation_config(read_checkpoint(checkpoint, "cpu")["config"], data_path)
        data = load_data(config)
        with away_from_the_command_line():
            trainer = create_trainer(config, data.train_data)
            rows = []
            for encoding in ENCODINGS:
                encoded = SparseIndex(
                    index.item_embeddings,
                    index.item_tokens,
                    encoding=encoding,
                    popularity=index.popularity,
                    item_scale=index.item_scale,
                    scales_input=index.scales_input,
                )
                _load(trainer.model.item_embedding, encoded.item_embeddings)
                result = trainer.evaluate(data.test_data, load_best_model=False, show_progress=False)
                ndcg = result[f"ndcg@{_TOP}"]
                rows.append(_row(folder, encoded, ndcg, rows[0].ndcg if rows else ndcg))
            trainer.tensorboard.close()
    explanation = report.paragraph(
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


def _evaluation_config(config, data_path):
    find_data(config, data_path)
    config["metrics"], config["topk"], config["valid_metric"] = ["NDCG"], [_TOP], f"NDCG@{_TOP}"
    config["metric_decimal_place"] = 10
    config["resume"] = None
    return config


def _load(layer, item_embeddings):
    """Put item embeddings (CSR) in the place of a layer's; the scales of its items stay."""
    state = {
        "shape": torch.tensor(item_embeddings.shape),
        "weight": torch.from_numpy(item_embeddings.data.copy()),
        "row_pointers": torch.from_numpy(item_embeddings.indptr),
        "column_indices": torch.from_numpy(item_embeddings.indices),
    }
    if layer.item_scale is not None:
        state["item_scale"] = layer.item_scale
    layer.load_state_dict(state)


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
