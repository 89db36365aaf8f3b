"""What the trainers of all our models save: RecBole's checkpoint, and beside it the same model as a model file."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from recbole.utils import set_color

from recbole_sparse_elsa.errors import CheckpointError, UserError
from recbole_sparse_elsa.output import require_free_space
from recbole_sparse_elsa.training.checkpoint import is_safe
from recbole_sparse_elsa.training.checkpoint.model_file import SUFFIX, require_plain_options, write_model_file


class SavesModelFiles:
    """Goes before RecBole's Trainer: writes the best model twice.

    RecBole's own functions read the checkpoint, a pickle with the state of the optimiser. The model file holds what is
    needed to score, and cannot run code. A run that is killed between the two goes on from a state before both.
    """

    config: Any
    model: Any
    logger: Any
    saved_model_file: str

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        super()._save_checkpoint(epoch, verbose, **kwargs)  # type: ignore[misc]
        if self.config["local_rank"] != 0:
            return
        saved = {
            "config": self.config,
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
        }
        file = model_file_of(kwargs.get("saved_model_file", self.saved_model_file))
        write_model_file(saved, file)
        if verbose:
            self.logger.info(set_color("The same without a pickle", "blue") + f": {file}")


def require_savable(config: Any, checkpoint: str, n_bytes: int) -> None:
    """Refuse before training what could not be saved after it.

    Raises
    ------
    OptionError
        An option is no plain data.
    OutputError
        There is no room for so many bytes where the checkpoint is going to be written.
    """
    require_plain_options(config)
    require_free_space(checkpoint, n_bytes)


def model_file_of(checkpoint: str) -> str:
    """The name of the model file beside a checkpoint."""
    return checkpoint.removesuffix(".pth") + SUFFIX


def size_of_state(model: Any, n_moments: int = 0) -> int:
    """Bytes of a model's state, and of so many moments that an optimiser keeps of each parameter."""
    moments = sum(n_moments * parameter.nbytes for parameter in model.parameters())
    return moments + sum(array.nbytes for array in model.state_dict().values())


@contextlib.contextmanager
def one_line_if_unusable(file: str | os.PathLike[str]) -> Iterator[None]:
    """Make a CheckpointError of whatever a model file's contents, which may be a stranger's, lead to.

    Of a pickle nobody can be protected, and its errors stay as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_safe(file):
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(f"model file {file} cannot be used: {type(error).__name__}: {reason:.300}") from error
