"""RecBole's Trainer with a pruning schedule, and with checkpoints from which an interrupted run goes on."""

import contextlib
import copy
import functools
import inspect
import math
import os
import random

import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch import distributed, optim
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from recbole_sparse_elsa.checkpoint import read_checkpoint, write_checkpoint
from recbole_sparse_elsa.core import embedding_size_report
from recbole_sparse_elsa.errors import CheckpointError, OptionError, TrainingError
from recbole_sparse_elsa.user_batches import UserBatches

# The compact form is the faster one from this many times fewer non-zeros than latent dimensions on.
COMPACT_FROM = 8

_RESUME_SUFFIX = "-resume.pth"

# Every process changes the buffers alike, and as large as the weights they would be sent at every step.
_KEEP_BUFFERS = {"forward_sync_buffers": False}
if "forward_sync_buffers" not in inspect.signature(DistributedDataParallel).parameters:
    _KEEP_BUFFERS = {"broadcast_buffers": False}  # its name before torch 2.13


class PruningTrainer(Trainer):
    """Trains ELSA and SparseELSA: prunes by the model's schedule and judges only epochs at the target k.

    Before the target k is reached nothing is validated, so neither early stopping nor the best model can pick an epoch
    that is not yet as sparse as asked for.

    Beside the best model (RecBole's checkpoint) the state after each ``save_step`` epochs is kept in a second file,
    from which an interrupted run goes on with the same result as an uninterrupted one. It is removed when training
    ends.

    On several processes (RecBole's ``nproc``) each takes its share of the users of every batch, and the gradient is
    that of the whole batch: without input dropout, which each process draws for itself, the weights are those of one
    process, to rounding.

    Parameters
    ----------
    config : recbole.config.Config
        RecBole's options, and ``resume``: a checkpoint of the same model, data set and shape to go on from.
    model : ELSA
        The model to train.

    Raises
    ------
    CheckpointError
        The checkpoint to resume from cannot be read or does not fit.
    """

    additional_learners = ("nadam",)

    def __init__(self, config, model):
        super().__init__(config, model)
        self._final_eval_step = self.eval_step
        self._random_state_to_restore = None
        self._is_distributed = not config["single_spec"]
        if config["resume"]:
            self.resume_checkpoint(config["resume"])
        self._wrap_distributed()

    @staticmethod
    def check_schedule(config, schedule) -> None:
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

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """Train as RecBole's Trainer does, on batches of users; see `recbole.trainer.Trainer.fit`."""
        users = self._user_batches(train_data)
        if self._random_state_to_restore is not None:
            _restore_random_state(self._random_state_to_restore, users)
            self._random_state_to_restore = None
        self._saves = saved
        result = super().fit(users, valid_data, verbose, saved, show_progress, callback_fn)
        result = self._complete(result, valid_data, show_progress)
        if self._saves:
            with contextlib.suppress(FileNotFoundError):  # another process may be the first to remove it
                os.remove(self._resume_file)
        layer = self.model.item_embedding
        has_scale = layer.item_scale is not None
        report = embedding_size_report(layer.nonzeros(), layer.shape.tolist(), layer.value_dtype, has_scale)
        self.logger.info(set_color("item embeddings", "blue") + f": {report}")
        return result

    def _complete(self, result, valid_data, show_progress):
        """What follows on the last epoch; ``result`` is what `fit` returns."""
        return result

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self._save_resume_point(train_data, epoch_idx)
        self._prune(epoch_idx, show_progress)
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

    def _prune(self, epoch_idx, show_progress):
        schedule, layer = self.model.pruning_schedule, self.model.item_embedding
        nonzeros = self.model.nonzeros_at(epoch_idx)
        restart = layer.initial_weight is not None
        if (layer.nonzeros() > nonzeros).any():
            if self.model.code_size is not None and layer.is_whole:
                if layer.is_compact:
                    self._change_layer(layer.expand)
                code_nonzeros = self.model.code_nonzeros_at(epoch_idx)
                autoencoder = self._fit_autoencoder(code_nonzeros, show_progress)
                # Moments were taken along the former dimensions.
                self.optimizer.state.clear()
                self._change_layer(lambda: self.model.replace_item_embeddings(autoencoder, code_nonzeros))
                nonzeros = self.model.nonzeros_at(epoch_idx)
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

    def _fit_autoencoder(self, nonzeros, show_progress):
        """Fit an autoencoder to the present item embeddings, whose codes have so many non-zeros."""
        embeddings = self.model.item_embedding().detach()
        # A generator of its own: the result depends on the seed and the embeddings, not on what was drawn before.
        generator = torch.Generator().manual_seed(self.config["seed"])
        autoencoder = self.model.create_autoencoder(generator)
        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=self.config["autoencoder_learning_rate"])
        nonzeros = torch.as_tensor(nonzeros, device=self.device).expand(len(embeddings))
        epochs, batch_size = self.config["autoencoder_epochs"], self.config["autoencoder_batch_size"]
        losses = []
        for epoch in tqdm(range(epochs), ncols=100, desc="Autoencoder", disable=not show_progress):
            total = 0.0
            for items in torch.randperm(len(embeddings), generator=generator).to(self.device).split(batch_size):
                loss = autoencoder.loss(embeddings[items], nonzeros[items])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(items)
            losses.append(total / len(embeddings))
            self.tensorboard.add_scalar("Loss/Autoencoder", losses[-1], epoch)
        if self._is_distributed:
            # Machines that round otherwise would have other codes.
            for parameter in autoencoder.parameters():
                distributed.broadcast(parameter.detach(), src=0)
        self.logger.info(f"sparse autoencoder: loss {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
        return autoencoder

    def _decay_learning_rate(self, epoch_idx):
        """Let the learning rate fall from its full value to 0 over the last stage, along half a cosine."""
        if not self.config["learning_rate_decay"]:
            return
        first = self.model.pruning_schedule.first_final_epoch
        done = max(0, epoch_idx - first) / (self.epochs - first)
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

    def _optimize(self, parameter, instead_of):
        for group in self.optimizer.param_groups:
            group["params"] = [parameter if old is instead_of else old for old in group["params"]]

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
        if len(set(_of_all_processes(bits, True))) > 1:
            raise TrainingError("the processes of this run kept different entries when the embeddings were pruned")

    def _user_batches(self, train_data):
        """The batches of users, which are the same on every process, as are their order and their sizes."""
        if not self._is_distributed:
            return UserBatches(self.config, train_data._dataset, train_data._sampler, self.model.batch_of)
        config = copy.copy(self.config)
        config.final_config_dict = {**self.config.final_config_dict, "single_spec": True}
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

    # Checkpoints

    @property
    def _resume_file(self):
        return self.saved_model_file.removesuffix(".pth") + _RESUME_SUFFIX

    def _save_resume_point(self, train_data, epoch_idx):
        """Save the state at the end of the epoch before ``epoch_idx``, where everything that follows is determined."""
        save_step = self.config["save_step"]
        done = epoch_idx - 1
        if not self._saves or not save_step or epoch_idx == self.start_epoch or epoch_idx % save_step:
            return
        random_states = _of_all_processes(_random_state(train_data), self._is_distributed)
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
        write_checkpoint(state, self._resume_file)
        if done - self.start_epoch < save_step:
            self.logger.info(f"If this run is interrupted, go on with --resume={self._resume_file}")

    def resume_checkpoint(self, resume_file):
        """Go on from a checkpoint of this model, data set and shape.

        Parameters
        ----------
        resume_file : str or os.PathLike
            The file that an interrupted run left, beside its best model.

        Raises
        ------
        CheckpointError
            The file cannot be read, or holds another model, data set or shape.
        """
        resume_file = str(resume_file)
        checkpoint = read_checkpoint(resume_file, self.device)
        for option in ("model", "dataset"):
            saved, asked = checkpoint["config"][option], self.config[option]
            if saved != asked:
                raise CheckpointError(f"{resume_file} was saved with {option} {saved}, but {option} is {asked}")
        if "best_model_file" not in checkpoint:
            raise CheckpointError(
                f"{resume_file} cannot be resumed from: it is a best model, without the state of its training; resume "
                f"from the file that an interrupted run left, whose name ends in {_RESUME_SUFFIX}"
            )
        fresh_weight = self.model.item_embedding.weight
        self.model.load_state_dict(checkpoint["state_dict"])
        self.model.load_other_parameter(checkpoint["other_parameter"])
        self._optimize(self.model.item_embedding.weight, instead_of=fresh_weight)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
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
        if self.best_valid_result is not None and not os.path.exists(self.saved_model_file):
            raise CheckpointError(f"{resume_file} belongs to the best model {self.saved_model_file}, which is missing")
        self.logger.info(f"Resuming from {resume_file} at epoch {self.start_epoch}")


def _mean_of_processes(value, device):
    mean = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.all_reduce(mean)
    return mean.item() / distributed.get_world_size()


def _of_all_processes(value, is_distributed):
    values = [value]
    if is_distributed:
        values *= distributed.get_world_size()
        distributed.all_gather_object(values, value)
    return values


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
