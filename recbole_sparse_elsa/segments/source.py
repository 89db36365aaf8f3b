"""What the commands read: an index file, or a checkpoint with the data set that it was trained on."""

import os
import zipfile
from functools import cached_property

import numpy as np
from recbole.data import create_dataset

from recbole_sparse_elsa.checkpoint import read_checkpoint
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.index.from_checkpoint import find_data, index_from_checkpoint


def add_source_arguments(parser) -> None:
    """Add the index file or checkpoint, and ``--data_path``, to an argparse parser."""
    parser.add_argument("source", metavar="INDEX", help="index file, or checkpoint (.pth) of SparseELSA")
    parser.add_argument(
        "--data_path", metavar="DIR", help="folder that holds the data set's (default: where it was in training)"
    )


class Source:
    """An index file or a checkpoint, recognised by its content.

    Parameters
    ----------
    path : str
        The file. A checkpoint is a pickle, and must be one you trust.
    data_path : str, optional
        Folder that holds the folder of a checkpoint's data set; by default where it was in training.

    Attributes
    ----------
    index : SparseIndex
        The index.

    Raises
    ------
    IndexFileError, CheckpointError, DatasetError
        The file, or the checkpoint's data set, cannot be read.
    """

    def __init__(self, path, data_path=None):
        self.path, self._config = path, None
        # Torch writes checkpoints as zip archives, which no index file is.
        if not path.endswith(".pth") and not zipfile.is_zipfile(path):
            self.index = SparseIndex.load(path)
            return
        self.index = index_from_checkpoint(path, data_path=data_path)
        self._config = read_checkpoint(path, "cpu")["config"]
        find_data(self._config, data_path)

    @property
    def item_file(self) -> str | None:
        """The .item file of the checkpoint's data set, if there is one."""
        if self._config is None:
            return None
        file = os.path.join(self._config["data_path"], f"{self._config['dataset']}.item")
        return file if os.path.isfile(file) else None

    @property
    def item_id_field(self) -> str:
        """The name of the data set's field of item tokens."""
        return "item_id" if self._config is None else self._config["ITEM_ID_FIELD"]

    @property
    def dataset(self) -> str | None:
        """The name of the checkpoint's data set."""
        return None if self._config is None else self._config["dataset"]

    @cached_property
    def histories(self) -> dict:
        """The tokens of the items (numpy.ndarray of str) that each user of the data set has after filtering, by token.

        Raises
        ------
        OptionError
            The source is an index file, which knows no users.
        """
        if self._config is None:
            raise OptionError(f"index file {self.path} knows no users: give the checkpoint that it was made from")
        dataset = create_dataset(self._config)
        table = dataset.inter_feat[[dataset.uid_field, dataset.iid_field]].sort_values(dataset.uid_field, kind="stable")
        users, starts = np.unique(table[dataset.uid_field].to_numpy(), return_index=True)
        # Id 0 stands for padding; the index has the items in the order of their ids.
        histories = np.split(self.index.item_tokens[table[dataset.iid_field].to_numpy() - 1], starts[1:])
        return {str(user): history for user, history in zip(dataset.id2token(dataset.uid_field, users), histories)}

    def history_of(self, user) -> list[str]:
        """The tokens of all items that a user of the checkpoint's data set has after filtering.

        Raises
        ------
        OptionError
            The source is an index file, which knows no users, or the data set does not have the user.
        """
        if self._config is None:
            raise OptionError(f"user is {user}, but index file {self.path} knows no users: give items or a checkpoint")
        if user not in self.histories:
            raise OptionError(f"user is {user}, but data set {self.dataset} does not have such a user")
        return list(self.histories[user])
