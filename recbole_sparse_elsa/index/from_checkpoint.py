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
    n_items = dataset.item_num - 1  # the first stands for padding
    if n_items != item_embeddings.shape[0]:
        raise CheckpointError(
            f"checkpoint {path} holds {item_embeddings.shape[0]} items, but data set {config['dataset']} in "
            f"{config['data_path']} has {n_items}: it is not the one that the model was trained on"
        )
    item_scale = checkpoint["state_dict"].get("item_embedding.item_scale")
    return index_of_dataset(dataset, item_embeddings, item_scale, config["scale_input"], encoding)


def index_of_dataset(dataset, item_embeddings, item_scale, scales_input, encoding="float32") -> SparseIndex:
    """Make an index of a model's item embeddings, with the tokens and the popularity of its training data.

    Parameters
    ----------
    dataset : recbole.data.dataset.Dataset
        The training interactions; repeated ones count once, as in the model.
    item_embeddings : scipy.sparse.csr_matrix
        Shape ``(n_items, embedding_size)``, in RecBole's order without padding; rows of any norm.
    item_scale : torch.Tensor or None
        float16, shape ``(n_items,)``, of the model's layer.
    scales_input : bool
        Whether the items of a history are divided by it.
    encoding : str
        As of `index_from_checkpoint`.

    Raises
    ------
    OptionError
        The encoding is unknown.
    """
    interactions = dataset.inter_matrix(form="csr")
    interactions.sum_duplicates()
    return SparseIndex(
        item_embeddings,
        [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]],
        encoding=encoding,
        popularity=np.bincount(interactions.indices, minlength=dataset.item_num)[1:],
        item_scale=None if item_scale is None else item_scale.cpu().numpy(),
        scales_input=scales_input,
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
