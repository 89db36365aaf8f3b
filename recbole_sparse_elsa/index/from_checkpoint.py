"""A retrieval index from a RecBole checkpoint: the only part of the index that knows RecBole."""

import os

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.checkpoint import read_checkpoint
from recbole_sparse_elsa.errors import CheckpointError, DatasetError
from recbole_sparse_elsa.experiment import load_data
from recbole_sparse_elsa.index.sparse_index import SparseIndex

_MODELS = ("SparseELSA", "ELSASAE")


def index_from_checkpoint(path, encoding="float32", data_path=None) -> SparseIndex:
    """Make an index of a trained SparseELSA or ELSASAE.

    A checkpoint holds item embeddings without the items' tokens, so its data set is loaded again as it was for the
    training. The checkpoint is a pickle, and must be one you trust.

    Parameters
    ----------
    path : str or os.PathLike
        The checkpoint.
    encoding : str
        float32, float16, int8 or int4.
    data_path : str, optional
        Folder that holds the data set's folder; by default where the data set was when the model was trained.

    Returns
    -------
    SparseIndex
        All items of the data set after filtering, in RecBole's order, with their training interactions as popularity.

    Raises
    ------
    CheckpointError
        The file cannot be read, holds another model, or belongs to other data.
    DatasetError
        The data set is not found.
    OptionError
        The encoding is unknown.
    """
    checkpoint = read_checkpoint(path, "cpu")
    config = checkpoint["config"]
    item_embeddings = _item_embeddings(path, config["model"], checkpoint["state_dict"])
    find_data(config, data_path)
    dataset = load_data(config).train_data.dataset
    tokens = dataset.field2id_token[dataset.iid_field][1:]  # the first stands for padding
    if len(tokens) != item_embeddings.shape[0]:
        raise CheckpointError(
            f"checkpoint {path} holds {item_embeddings.shape[0]} items, but data set {config['dataset']} in "
            f"{config['data_path']} has {len(tokens)}: it is not the one that the model was trained on"
        )
    items_of_users = dataset.inter_matrix(form="csr")
    items_of_users.sum_duplicates()  # repeated interactions count once, as in the model
    popularity = np.bincount(items_of_users.indices, minlength=len(tokens) + 1)[1:]
    item_scale = checkpoint["state_dict"].get("item_embedding.item_scale")
    return SparseIndex(
        item_embeddings,
        [str(token) for token in tokens],
        encoding=encoding,
        popularity=popularity,
        item_scale=None if item_scale is None else item_scale.numpy(),
        scales_input=config["scale_input"],
    )


def _item_embeddings(path, model, state):
    """The item embeddings of a checkpoint as CSR, rows of any norm."""
    if model not in _MODELS:
        raise CheckpointError(f"checkpoint {path} holds model {model}, but must hold {' or '.join(_MODELS)}")
    prefix = "item_embedding."
    try:
        shape = tuple(state[f"{prefix}shape"].tolist())
        weight = state[f"{prefix}weight"].float()
    except KeyError as error:
        raise CheckpointError(f"checkpoint {path} holds no item embeddings: {error.args[0]} is missing") from None
    pointers, support = state.get(f"{prefix}row_pointers"), state.get(f"{prefix}support")
    if pointers is not None:
        columns = state[f"{prefix}column_indices"]
        return csr_matrix((weight.numpy(), columns.numpy(), pointers.numpy()), shape=shape)
    if support is None and model == "ELSASAE":
        raise CheckpointError(
            f"checkpoint {path} holds the dense item embeddings of an ELSASAE whose autoencoder was not fitted yet"
        )
    return csr_matrix((weight if support is None else weight * support).numpy())


def find_data(config, data_path) -> None:
    """Make a checkpoint's recbole.config.Config ready for loading its data set again, here and on the CPU.

    Raises
    ------
    DatasetError
        There is no such folder.
    """
    if data_path is not None:
        config["data_path"] = os.path.join(data_path, config["dataset"])
    config["device"] = torch.device("cpu")
    if not os.path.isdir(config["data_path"]):
        raise DatasetError(
            f"data set {config['dataset']}, on which the model was trained, was not found in {config['data_path']}; "
            "give the folder that holds its folder as data_path"
        )
