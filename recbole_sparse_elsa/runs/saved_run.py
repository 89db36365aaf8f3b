"""A saved run: a saved model and the data set that it was trained on, each loaded once."""

import math
import os
from functools import cached_property
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from scipy.sparse import csr_matrix

from recbole_sparse_elsa.core.topk_embedding import csr_of_state, is_unpruned_state
from recbole_sparse_elsa.data.fingerprint import SAVED_AS, Fingerprint, require_same_data
from recbole_sparse_elsa.errors import CheckpointError, DatasetError, OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.model.recipe import Recipe
from recbole_sparse_elsa.options import derived_config
from recbole_sparse_elsa.runs.training_run import Data, create_model, filter_data, split_data
from recbole_sparse_elsa.training.checkpoint import read_checkpoint
from recbole_sparse_elsa.training.saving import model_file_of, one_line_if_unusable

_INDEXED_MODELS = ("SparseELSA", "SparseSLIM", "ELSASAE", "FineTunedELSASAE")
_EMBEDDING = "item_embedding."


class SavedRun:
    """What a training left: its model, its options, its data, and the item file of its data set.

    The file is read when the object is made. All else is loaded when it is first asked for, and once.

    Parameters
    ----------
    path : str or os.PathLike
        The model file (.safetensors) that a training of this package's models leaves, which cannot run code; or the
        checkpoint (.pth) beside it, which is a pickle, and must be one you trust.
    data_path : str, optional
        Folder that holds the data set's folder; by default where the data set was when the model was trained.

    Attributes
    ----------
    path : str
        As above.
    config : recbole.config.Config
        The options of the run, for loading its data here and on the CPU.

    Raises
    ------
    CheckpointError
        The file cannot be read, or is neither.
    """

    def __init__(self, path: str | os.PathLike[str], data_path: str | None = None) -> None:
        self.path = os.fspath(path)
        self._checkpoint = read_checkpoint(path, "cpu")
        if "best_model_file" in self._checkpoint:
            best = os.path.join(os.path.dirname(self.path), model_file_of(self._checkpoint["best_model_file"]))
            raise CheckpointError(
                f"checkpoint {self.path} is the state of a training that was not finished, not a model; go on with "
                f"--resume={self.path}" + (f", or use its best model so far, {best}" if os.path.exists(best) else "")
            )
        saved = self._checkpoint["config"]
        changes = {"device": torch.device("cpu"), "single_spec": True, "local_rank": 0, "resume": None}
        changes["show_progress"] = True  # of reading and splitting, whatever the training showed
        if data_path is not None:
            changes["data_path"] = os.path.join(data_path, saved["dataset"])
        self.config: Config = derived_config(saved, **changes)

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return self.config["model"]

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.config["dataset"]

    @property
    def recipe(self) -> Recipe:
        """How the model was made, of those with item embeddings."""
        with one_line_if_unusable(self.path):
            return Recipe.of_checkpoint(self._checkpoint)

    @property
    def figures(self) -> dict[str, float]:
        """The score of the saved epoch on the validation data, by ``"validation METRIC"``, if it was validated."""
        score = self._checkpoint.get("best_valid_score")
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            return {}
        return {f"validation {self.config['valid_metric']}": float(score)}

    @property
    def item_file(self) -> str | None:
        """The .item file of the data set, if there is one."""
        file = os.path.join(self.config["data_path"], f"{self.dataset}.item")
        return file if os.path.isfile(file) else None

    @property
    def item_id_field(self) -> str:
        """The name of the data set's field of item tokens."""
        return self.config["ITEM_ID_FIELD"]

    @cached_property
    def filtered_dataset(self) -> Any:
        """The data set (recbole.data.dataset.Dataset) after filtering.

        Raises
        ------
        DatasetError
            The data set is not found.
        """
        if not os.path.isdir(self.config["data_path"]):
            raise DatasetError(
                f"data set {self.dataset}, on which the model was trained, was not found in "
                f"{self.config['data_path']}; give the folder that holds its folder as data_path"
            )
        with one_line_if_unusable(self.path):
            dataset = filter_data(self.config)
        # Splitting brings them into another order, and with held-out users gives the users other ids.
        fields = dataset.uid_field, dataset.iid_field
        self._pairs = [dataset.inter_feat[field].to_numpy(copy=True) for field in fields]
        self._tokens = [dataset.field2id_token[field] for field in fields]
        return dataset

    @cached_property
    def data(self) -> Data:
        """The training, validation and test data, split as they were for the training."""
        dataset = self.filtered_dataset
        with one_line_if_unusable(self.path):
            return split_data(self.config, dataset)

    @cached_property
    def model(self) -> Any:
        """The model, as it was saved, on the CPU.

        Raises
        ------
        CheckpointError
            It does not fit the data.
        """
        train_data = self.data.train_data
        with one_line_if_unusable(self.path):
            model = create_model(self.config, train_data)
            model.load_state_dict(self._checkpoint["state_dict"])
            model.load_other_parameter(self._checkpoint.get("other_parameter"))
        return model

    @cached_property
    def index(self) -> SparseIndex:
        """A retrieval index of the model, with values in float32; see `make_index`."""
        return self.make_index()

    def make_index(self, encoding: str = "float32") -> SparseIndex:
        """Make an index of a trained model with sparse item embeddings.

        Parameters
        ----------
        encoding : str
            float32, float16, int8 or int4.

        Returns
        -------
        SparseIndex
            All items of the data set after filtering, in RecBole's order, with their training interactions as
            popularity.

        Raises
        ------
        CheckpointError
            The checkpoint holds another model, or belongs to other data.
        DatasetError
            The data set is not found.
        OptionError
            The encoding is unknown.
        """
        item_embeddings = self._item_embeddings()
        dataset = self.data.train_data._dataset
        with one_line_if_unusable(self.path):
            return self._indexed(dataset, item_embeddings, encoding)

    def _indexed(self, dataset, item_embeddings, encoding):
        n_items = dataset.item_num - 1  # the first stands for padding
        if n_items != item_embeddings.shape[0]:
            raise CheckpointError(
                f"checkpoint {self.path} holds {item_embeddings.shape[0]} items, but data set {self.dataset} in "
                f"{self.config['data_path']} has {n_items}: it is not the one that the model was trained on"
            )
        saved = (self._checkpoint.get("other_parameter") or {}).get(SAVED_AS)
        require_same_data(saved, Fingerprint.of(dataset), f"checkpoint {self.path}")
        item_scale = self._checkpoint["state_dict"].get(f"{_EMBEDDING}item_scale")
        recipe = (self._checkpoint.get("other_parameter") or {}).get("recipe") or {}
        made_by = self.model_name
        if "words" in recipe:
            made_by += f": {recipe['words']}"
        elif self.model_name == "SparseELSA":  # of version 0.1.0
            made_by += f": {self.recipe.in_words(round(item_embeddings.nnz / n_items))}"
        return index_of_dataset(dataset, item_embeddings, item_scale, self.recipe.scales_input, encoding, made_by)

    @cached_property
    def histories(self) -> dict[str, np.ndarray]:
        """The tokens of the items (str objects) that each user of the data set has after filtering, by user token."""
        assert self.filtered_dataset is not None
        (users, items), (user_tokens, item_tokens) = self._pairs, self._tokens
        order = np.argsort(users, kind="stable")
        user_ids, starts = np.unique(users[order], return_index=True)
        histories = np.split(item_tokens[items[order]].astype(object), starts[1:])
        return {str(user): history for user, history in zip(user_tokens[user_ids], histories)}

    def history_of(self, user: str) -> list[str]:
        """The tokens of all items that a user of the data set has after filtering.

        Raises
        ------
        OptionError
            The data set does not have the user.
        """
        if user not in self.histories:
            raise OptionError(f"user is {user}, but data set {self.dataset} does not have such a user")
        return list(self.histories[user])

    def _item_embeddings(self):
        """The item embeddings as CSR, rows of any norm."""
        if self.model_name not in _INDEXED_MODELS:
            raise CheckpointError(
                f"checkpoint {self.path} holds model {self.model_name}, but must hold {' or '.join(_INDEXED_MODELS)}"
            )
        state = self._checkpoint["state_dict"]
        try:
            rows = csr_of_state(state, _EMBEDDING)
        except KeyError as error:
            raise CheckpointError(
                f"checkpoint {self.path} holds no item embeddings: {error.args[0]} is missing"
            ) from None
        if self.model_name == "ELSASAE" and is_unpruned_state(state, _EMBEDDING):
            raise CheckpointError(
                f"checkpoint {self.path} holds the dense item embeddings of an ELSASAE whose autoencoder was not "
                "fitted yet"
            )
        arrays = (rows.values.numpy(), rows.columns.numpy(), rows.row_pointers.numpy())
        return csr_matrix(arrays, shape=rows.shape)


def load(path: str | os.PathLike[str], data_path: str | None = None) -> SavedRun:
    """Open a saved run: ``load("saved/SparseELSA-….safetensors").index.recommend(["50", "181"], 5)``.

    Parameters
    ----------
    path, data_path
        See `SavedRun`.

    Raises
    ------
    CheckpointError
        The file cannot be read, or is neither.
    """
    return SavedRun(path, data_path)


def index_of_dataset(
    dataset: Any,
    item_embeddings: csr_matrix,
    item_scale: torch.Tensor | None,
    scales_input: bool,
    encoding: str = "float32",
    made_by: str = "",
) -> SparseIndex:
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
        float32, float16, int8 or int4.
    made_by : str
        See `SparseIndex`.

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
        made_by=made_by,
    )
