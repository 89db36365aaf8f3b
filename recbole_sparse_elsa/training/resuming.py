"""RecBole's Trainer with checkpoints from which an interrupted run goes on with the same result."""

import contextlib
import os
import random
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.trainer import Trainer
from torch import distributed

from recbole_sparse_elsa.data.fingerprint import SAVED_AS, require_same_data
from recbole_sparse_elsa.errors import CheckpointError, Interrupted
from recbole_sparse_elsa.output import reserve_file
from recbole_sparse_elsa.training.checkpoint import is_safe, read_checkpoint
from recbole_sparse_elsa.training.checkpoint.model_file import SUFFIX, write_model_file
from recbole_sparse_elsa.training.saving import (
    SavesModelFiles,
    model_file_of,
    one_line_if_unusable,
    require_savable,
    size_of_state,
)

#: How the name of a file ends from which a run can be resumed.
RESUME_SUFFIX = f"-resume{SUFFIX}"
# A pickle, as earlier versions wrote it.
_FORMER_RESUME_SUFFIX = "-resume.pth"


#: Options that may differ when a run is resumed: they cannot change the result, or they only prolong the training.
MAY_DIFFER = frozenset(
    (
        *("epochs", "stopping_step"),
        *("resume", "save_step", "checkpoint_dir", "data_path", "save_dataset", "dataset_save_path"),
        *("save_dataloaders", "dataloaders_save_path", "eval_batch_size", "worker"),
        *("show_progress", "state", "verbose", "log_wandb", "wandb_project"),
        *("device", "gpu_id", "use_gpu", "nproc", "world_size", "ip", "port", "offset", "local_rank", "single_spec"),
    )
)


def require_same_options(checkpoint: str, saved: Any, asked: Any) -> None:
    """Refuse to go on from a checkpoint with options that would change the result.

    Parameters
    ----------
    checkpoint : str
        What the message calls the checkpoint.
    saved, asked : recbole.config.Config
        The options of the interrupted run, and those of the run that is to go on.

    Raises
    ------
    CheckpointError
        Names the first option that differs and is not one of ``MAY_DIFFER``.
    """
    # The model and the data set first: with others, everything else differs, too.
    for option in ("model", "dataset", *sorted(asked.final_config_dict)):
        if option not in MAY_DIFFER and saved[option] != asked[option]:
            raise CheckpointError(
                f"{checkpoint} was saved with {option} {saved[option]}, but {option} is {asked[option]}"
                + ("" if option in ("model", "dataset") else ": a run goes on with the options that it began with")
            )


class ResumingTrainer(SavesModelFiles, Trainer):
    """Keeps the state after each ``save_step`` epochs in a file of its own beside the best model.

    From it an interrupted run goes on with the same result as an uninterrupted one. The file is removed once the best
    model was evaluated, so that a run that ends before can still be finished. Until then the run keeps it to itself:
    two processes that went on from it would write the same best model.

    Parameters
    ----------
    config : recbole.config.Config
        RecBole's options, ``save_step``, and ``resume``: a checkpoint of the same model, data set and shape to go on
        from.
    model : ELSA
        The model to train.

    Raises
    ------
    CheckpointError
        The checkpoint to resume from cannot be read or does not fit.
    """

    def __init__(self, config: Config, model: Any) -> None:
        super().__init__(config, model)
        self._saves = False
        self._is_finished = False
        self._random_state_to_restore: dict[str, Any] | None = None
        self._is_distributed = not config["single_spec"]
        self._reserved = contextlib.ExitStack()
        if config["resume"]:
            self.resume_checkpoint(config["resume"])

    @property
    def _resume_file(self):
        return self.saved_model_file.removesuffix(".pth") + RESUME_SUFFIX

    def _save_resume_point(self, train_data, epoch_idx):
        """Save the state at the end of the epoch before ``epoch_idx``, where everything that follows is determined."""
        save_step = self.config["save_step"]
        done = epoch_idx - 1
        if not self._saves or not save_step or epoch_idx == self.start_epoch or epoch_idx % save_step:
            return
        random_states = of_all_processes(_random_state(train_data), self._is_distributed)
        if self.config["local_rank"] != 0:
            return
        state = {
            "config": self.config,
            "epoch": done,
            "cur_step": self.cur_step,
            "best_valid_score": self.best_valid_score,
            "best_valid_result": self.best_valid_result,
            "best_model_file": os.path.basename(self.saved_model_file),
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
            "random_states": random_states,
        }
        write_model_file(state, self._resume_file)
        if done - self.start_epoch < save_step:
            self.logger.info(f"If this run is interrupted, go on with --resume={self._resume_file}")

    def resume_checkpoint(self, resume_file: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint of this model, data set and shape.

        Parameters
        ----------
        resume_file : str or os.PathLike
            The file that an interrupted run left, beside its best model.

        Raises
        ------
        CheckpointError
            The file cannot be read, or holds another model, data set or shape.
        OutputError
            Another process is going on from it.
        """
        resume_file = str(resume_file)
        checkpoint = read_checkpoint(resume_file, self.device)
        try:
            with one_line_if_unusable(resume_file):
                self._resume_from(checkpoint, resume_file)
        except BaseException:
            self._reserved.close()
            raise

    def _resume_from(self, checkpoint, resume_file):
        require_same_options(resume_file, checkpoint["config"], self.config)
        if "best_model_file" not in checkpoint:
            raise CheckpointError(
                f"{resume_file} cannot be resumed from: it is a best model, without the state of its training; resume "
                f"from the file that an interrupted run left, whose name ends in {RESUME_SUFFIX}"
            )
        fingerprint = checkpoint["other_parameter"].get(SAVED_AS)
        require_same_data(fingerprint, self.model.data_fingerprint, resume_file, interactions=True)
        fresh_weight = self.model.item_embedding.weight
        self.model.load_state_dict(checkpoint["state_dict"])
        self.model.load_other_parameter(checkpoint["other_parameter"])
        self._optimize(self.model.item_embedding.weight, instead_of=fresh_weight)
        # The options of its groups are those of this run, which are the same.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": checkpoint["optimizer"]["state"], "param_groups": groups})
        _require_moments(self.optimizer)
        self.start_epoch = checkpoint["epoch"] + 1
        self.cur_step = checkpoint["cur_step"]
        self.best_valid_score = checkpoint["best_valid_score"]
        self.best_valid_result = checkpoint["best_valid_result"]
        # A process that the interrupted run did not have has only the order of the batches in common with the others.
        states, rank = checkpoint["random_states"], distributed.get_rank() if self._is_distributed else 0
        batches = {"order of batches": states[0]["order of batches"]}
        self._random_state_to_restore = states[rank] if rank < len(states) else batches
        # The best model so far stays the run's best model, under its own name.
        self.saved_model_file = os.path.join(os.path.dirname(resume_file), checkpoint["best_model_file"])
        self._reserve_resume_point()
        if self.best_valid_result is not None:
            self._require_best_model(resume_file)
        self.logger.info(f"Resuming from {resume_file} at epoch {self.start_epoch}")

    def _require_best_model(self, resume_file):
        """Raise CheckpointError unless the best model so far is there, as a pickle and as a model file."""
        model_file = model_file_of(self.saved_model_file)
        if os.path.exists(self.saved_model_file) and not os.path.exists(model_file) and not is_safe(resume_file):
            # Earlier versions wrote pickles only, and this one was read as the pickle that it belongs to.
            write_model_file(read_checkpoint(self.saved_model_file, "cpu"), model_file)
        for file in (self.saved_model_file, model_file):
            if not os.path.exists(file):
                raise CheckpointError(f"{resume_file} belongs to the best model {file}, which is missing")

    def _reserve_resume_point(self):
        """Keep the file to resume from to this process, until the run has ended."""
        if self.config["local_rank"] == 0:
            self._reserved.enter_context(reserve_file(self._resume_file, "resume"))

    @contextlib.contextmanager
    def _reserving(self):
        """What a training needs while it runs; it is given back where that fails."""
        try:
            if self._saves and self.config["save_step"]:
                self._reserve_resume_point()
            if self._saves and self.config["local_rank"] == 0:
                # Of the file to resume from, also that which replaces it.
                n_files = 2 if self.config["save_step"] else 1
                n_bytes = n_files * size_of_state(self.model, n_moments=2)
                require_savable(self.config, self.saved_model_file, n_bytes)
            yield
        except BaseException:
            self._reserved.close()
            raise

    def _restore_random_state(self, train_data):
        """Put the random number generators back to where the interrupted run left them, once."""
        if self._random_state_to_restore is not None:
            with one_line_if_unusable(self.config["resume"]):
                _restore_random_state(self._random_state_to_restore, train_data)
            self._random_state_to_restore = None

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: str | None = None, show_progress: bool = False
    ) -> Any:
        """As `recbole.trainer.Trainer.evaluate`; after that of the best model there is nothing left to resume.

        The best model is read from its model file: a run that goes on from a stranger's reads no pickle of theirs.
        """
        if load_best_model:
            if self._is_distributed:
                distributed.barrier()  # the process that writes it may still be at it
            own = model_file_of(self.saved_model_file)
            model_file = model_file or (own if os.path.exists(own) else None)
        with self._interruptible():
            result = super().evaluate(eval_data, load_best_model, model_file, show_progress)
        if load_best_model and self._is_finished:
            self._remove_resume_point()
        return result

    @contextlib.contextmanager
    def _interruptible(self):
        """Let a user who stops the run know how it goes on."""
        try:
            yield
        except KeyboardInterrupt:
            if self._saves and os.path.exists(self._resume_file):
                raise Interrupted(f"go on with the same options and --resume={self._resume_file}") from None
            raise

    def _remove_resume_point(self):
        if self._saves:
            for suffix in (RESUME_SUFFIX, _FORMER_RESUME_SUFFIX):
                with contextlib.suppress(FileNotFoundError):  # another process may be the first to remove it
                    os.remove(self.saved_model_file.removesuffix(".pth") + suffix)
        self._reserved.close()

    def _optimize(self, parameter, instead_of):
        for group in self.optimizer.param_groups:
            group["params"] = [parameter if old is instead_of else old for old in group["params"]]


def of_all_processes(value: Any, is_distributed: bool) -> list[Any]:
    """The values that the processes of a run have, in their order."""
    values = [value]
    if is_distributed:
        values *= distributed.get_world_size()
        distributed.all_gather_object(values, value)
    return values


def _require_moments(optimizer):
    """Raise ValueError unless what an optimiser keeps of a parameter is of its kind, or a number from 0 on."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            fits = torch.is_tensor(value) and value.dtype == parameter.dtype
            if not fits or not (value.shape == parameter.shape or (value.ndim == 0 and 0 <= value < 2**31)):
                raise ValueError(f"{name} of the optimiser does not fit the item embeddings")


def _random_state(train_data):
    """The states of all random number generators that training draws from."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "order of batches": train_data.generator.get_state(),
    }


def _restore_random_state(state, train_data):
    train_data.generator.set_state(state["order of batches"].cpu())
    if len(state) == 1:
        return
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
