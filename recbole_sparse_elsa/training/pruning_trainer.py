"""RecBole's Trainer with a pruning schedule."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from recbole.config import Config
from recbole.utils import set_color
from torch import distributed, optim
from torch.nn.parallel import DistributedDataParallel

from recbole_sparse_elsa.core import PruningSchedule
from recbole_sparse_elsa.errors import OptionError, TrainingError
from recbole_sparse_elsa.options import derived_config
from recbole_sparse_elsa.training.resuming import ResumingTrainer, of_all_processes
from recbole_sparse_elsa.training.user_batches import UserBatches

# The compact form is the faster one from this many times fewer non-zeros than latent dimensions on.
COMPACT_FROM = 8

# Every process changes the buffers alike, and as large as the weights they would be sent at every step.
_KEEP_BUFFERS = {"forward_sync_buffers": False}
if "forward_sync_buffers" not in inspect.signature(DistributedDataParallel).parameters:
    _KEEP_BUFFERS = {"broadcast_buffers": False}  # its name before torch 2.13


class PruningTrainer(ResumingTrainer):
    """Trains ELSA and SparseELSA: prunes by the model's schedule and judges only epochs at the target k.

    Before the target k is reached nothing is validated, so neither early stopping nor the best model can pick an epoch
    that is not yet as sparse as asked for.

    On several processes (RecBole's ``nproc``) each takes its share of the users of every batch, and the gradient is
    that of the whole batch: without input dropout and noise, which each process draws for itself, the weights are those
    of one process, to rounding.

    Parameters
    ----------
    config : recbole.config.Config
        RecBole's options, and those of ResumingTrainer.
    model : ELSA
        The model to train.

    Raises
    ------
    CheckpointError
        The checkpoint to resume from cannot be read or does not fit.
    OptionError
        The schedule leaves no epoch to evaluate.
    """

    additional_learners = ("nadam",)

    def __init__(self, config: Config, model: Any) -> None:
        self.check_schedule(config, model.pruning_schedule)
        super().__init__(config, model)
        self._final_eval_step = self.eval_step
        self._show_progress = False
        self._wrap_distributed()

    @staticmethod
    def check_schedule(config: Mapping[str, Any], schedule: PruningSchedule) -> None:
        """Raise OptionError unless training evaluates at least one epoch at the schedule's target k."""
        eval_step = min(config["eval_step"], config["epochs"])
        epochs_needed = schedule.first_final_epoch + 1
        if eval_step > 0:
            # Epochs are counted from 0, and epoch e is evaluated if eval_step divides e + 1.
            epochs_needed = -(-epochs_needed // eval_step) * eval_step
        if config["epochs"] < epochs_needed:
            raise OptionError(
                f"epochs is {config['epochs']}, but must be at least {epochs_needed}: the pruning schedule reaches "
                f"k = {schedule.k} after {schedule.first_final_epoch} epochs, and one epoch at that k must be evaluated"
                f" (eval_step is {config['eval_step']})"
            )

    def _build_optimizer(self, **kwargs):
        if kwargs.get("learner", self.learner).lower() != "nadam":
            return super()._build_optimizer(**kwargs)
        # Keras' Nadam, which the paper's runs use: torch's default momentum_decay takes another path.
        return optim.NAdam(
            kwargs.get("params", self.model.parameters()),
            lr=kwargs.get("learning_rate", self.learning_rate),
            eps=self.config["nadam_epsilon"],
            weight_decay=kwargs.get("weight_decay", self.weight_decay),
            momentum_decay=1.0,
            decoupled_weight_decay=True,
            foreach=True,  # torch's choice on GPUs; on CPUs it takes a third less time, too
        )

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train as RecBole's Trainer does, on batches of users; see `recbole.trainer.Trainer.fit`."""
        users = self._user_batches(train_data)
        self._restore_random_state(users)
        self._saves = saved
        self._show_progress = show_progress
        if verbose:
            self.model.log_recipe()
        with self._interruptible(), self._reserving():
            result = super().fit(users, valid_data, verbose, saved, show_progress, callback_fn)
            result = self._complete(result, valid_data)
        self._is_finished = True
        self.model.log_size()
        return result

    def _complete(self, result, valid_data):
        """What follows on the last epoch; ``result`` is what `fit` returns."""
        return result

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self._save_resume_point(train_data, epoch_idx)
        self._prune(epoch_idx)
        self._decay_learning_rate(epoch_idx)
        self._epoch, self._batches_done = epoch_idx, 0
        at_target = epoch_idx >= self.model.pruning_schedule.first_final_epoch
        # RecBole validates epochs that eval_step divides; before the target k there is none to validate.
        self.eval_step = self._final_eval_step if at_target else self.epochs + 1
        if self._is_distributed:
            loss_func = loss_func or self._loss_of_share
        loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        if self._is_distributed:
            loss = _mean_of_processes(loss, self.device)
        size = {"k": self._mean_nonzeros(), "bytes_per_item": self.model.item_embedding.bytes_per_item()}
        for name, value in size.items():
            self.tensorboard.add_scalar(name, value, epoch_idx)
        self.wandblogger.log_metrics({**size, "train_step": epoch_idx}, head="train")
        return loss

    def _prune(self, epoch_idx):
        schedule, layer = self.model.pruning_schedule, self.model.item_embedding
        nonzeros = self.model.nonzeros_at(epoch_idx)
        restart = layer.initial_weight is not None
        if (layer.nonzeros() > nonzeros).any():
            if self._is_distributed:
                # Machines that round otherwise would keep other entries.
                distributed.broadcast(layer.weight.detach(), src=0)
            self._change_layer(lambda: layer.prune(nonzeros, restart=restart))
            if restart:
                self.optimizer.state.clear()
            self._check_that_processes_agree()
        if restart and epoch_idx >= schedule.first_final_epoch:
            layer.forget_initial_weight()
        if layer.is_compact != self._compact_is_due(layer):
            self._change_layer(layer.expand if layer.is_compact else layer.compress)

    def _decay_learning_rate(self, epoch_idx):
        """Let the learning rate fall from its full value to 0 over the last stage, along half a cosine."""
        if not self.config["learning_rate_decay"]:
            return
        first = self.model.pruning_schedule.first_final_epoch
        # Of all epochs, even where fewer of them are trained.
        done = max(0, epoch_idx - first) / (self.config["epochs"] - first)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def _change_layer(self, change):
        """Prune or compress the layer, and let the optimiser follow."""
        layer = self.model.item_embedding
        old_weight = layer.weight
        select = change()
        state = self.optimizer.state.pop(old_weight, {})
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == old_weight.shape:
                # What is left of a pruned entry's momentum would move it away from 0 again.
                state[name] = select(value)
        self.optimizer.state[layer.weight] = state
        self._optimize(layer.weight, instead_of=old_weight)
        if layer.weight is not old_weight:
            self._wrap_distributed()

    def _compact_is_due(self, layer):
        if self.config["embedding_form"] == "auto":
            return self._mean_nonzeros() * COMPACT_FROM <= layer.embedding_size
        return self.config["embedding_form"] == "compact"

    def _check_nan(self, loss):
        # RecBole stops at NaN only, and does not say where.
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} in batch {self._batches_done} of epoch {self._epoch} (counted from 0): "
                f"try a smaller learning_rate than {self.learning_rate}; the last checkpoint is left as it is"
            )
        self._batches_done += 1

    def _mean_nonzeros(self):
        return self.model.item_embedding.nonzeros().double().mean().item()

    def _generate_train_loss_output(self, epoch_idx, s_time, e_time, losses):
        output = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        return output.removesuffix("]") + ", " + set_color("k", "blue") + f": {self._mean_nonzeros():g}]"

    # Several processes

    def _wrap_distributed(self):
        """Let the processes of the run share the gradients of the parameters that the model has now."""
        if self._is_distributed:
            self.distributed_model = DistributedDataParallel(
                self.model,
                device_ids=[self.config["local_rank"]] if self.device.type == "cuda" else None,
                **_KEEP_BUFFERS,
            )

    def _check_that_processes_agree(self):
        if not self._is_distributed:
            return
        bits = self.model.item_embedding.weight.detach().view(torch.int32).sum().item()
        if len(set(of_all_processes(bits, True))) > 1:
            raise TrainingError("the processes of this run kept different entries when the embeddings were pruned")

    def _user_batches(self, train_data):
        """The batches of users, which are the same on every process, as are their order and their sizes."""
        if not self._is_distributed:
            return UserBatches(self.config, train_data._dataset, train_data._sampler, self.model.batch_of)
        config = derived_config(self.config, single_spec=True)
        share = slice(distributed.get_rank(), None, distributed.get_world_size())
        gather = functools.partial(self.model.batch_of, share=share)
        users = UserBatches(config, train_data._dataset, train_data._sampler, gather)
        users.shuffle = False  # it shuffles by itself; RecBole would set the epoch of a distributed sampler
        return users

    def _loss_of_share(self, interaction):
        """The loss of this process's users, such that its mean over the processes is that of the whole batch."""
        n_users = torch.count_nonzero(self.model.histories.lengths(interaction[self.model.USER_ID])).item()
        loss = self.model.calculate_loss(interaction)
        return loss * (interaction.batch.n_users * distributed.get_world_size() / max(1, n_users))


def _mean_of_processes(value, device):
    mean = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.all_reduce(mean)
    return mean.item() / distributed.get_world_size()
