"""The trainers of ELSASAE and FineTunedELSASAE: ELSA's, and an autoencoder for the item embeddings that came out."""

import torch
from recbole.utils import set_color
from torch import distributed

from recbole_sparse_elsa import output
from recbole_sparse_elsa.training.checkpoint import read_checkpoint
from recbole_sparse_elsa.training.pruning_trainer import PruningTrainer
from recbole_sparse_elsa.training.saving import model_file_of


class _AutoencoderTrainer(PruningTrainer):
    """Fits a sparse autoencoder to the item embeddings of a model."""

    def _fit_autoencoder(self, nonzeros):
        """Fit an autoencoder to the present item embeddings, whose codes have so many non-zeros."""
        embeddings = self.model.item_embedding().detach()
        # A generator of its own: the result depends on the seed and the embeddings, not on what was drawn before.
        generator = torch.Generator().manual_seed(self.config["seed"])
        autoencoder = self.model.create_autoencoder(generator)
        epochs = self.config["autoencoder_epochs"]
        with output.progress("Autoencoder", epochs, "epoch", self._show_progress) as bar:

            def after_epoch(epoch, loss):
                self.tensorboard.add_scalar("Loss/Autoencoder", loss, epoch)
                bar.update()

            losses = autoencoder.fit(
                embeddings,
                nonzeros,
                epochs=epochs,
                batch_size=self.config["autoencoder_batch_size"],
                learning_rate=self.config["autoencoder_learning_rate"],
                generator=generator,
                on_epoch=after_epoch,
            )
        if self._is_distributed:
            # Machines that round otherwise would have other codes.
            for parameter in autoencoder.parameters():
                distributed.broadcast(parameter.detach(), src=0)
        self.logger.info(f"sparse autoencoder: loss {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
        return autoencoder


class AutoencoderTrainer(_AutoencoderTrainer):
    """Trains ELSA to early stopping, and then fits a sparse autoencoder to the item embeddings of its best epoch.

    Without a saved model (``saved=False``) they are those of the last epoch, as RecBole then tests the last one.
    The validation result of the run, and its saved model, are those of the codes. A run that is interrupted while the
    autoencoder is fitted repeats ELSA's last epoch when it is resumed.
    """

    def _complete(self, result, valid_data):
        if self._saves:
            if self._is_distributed:
                distributed.barrier()  # the process that writes the best model may still be at it
            best = read_checkpoint(model_file_of(self.saved_model_file), self.device)
            self.model.load_state_dict(best["state_dict"])
        # A run that was interrupted after its codes were saved has them already.
        if self.model.item_embedding.is_whole:
            autoencoder = self._fit_autoencoder(self.model.k)
            self.model.replace_item_embeddings(autoencoder, self.model.k)
        self.optimizer = self._build_optimizer()  # what it knew of the dense embeddings has no use any more
        if valid_data:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, self._show_progress)
            result = self.best_valid_score, self.best_valid_result
            self.logger.info(set_color("valid result of the codes", "blue") + f": {self.best_valid_result}")
        if self._saves:
            self._save_checkpoint(self.epochs - 1)
        return result


class FineTuningTrainer(_AutoencoderTrainer):
    """Trains ELSA densely, replaces its item embeddings by their codes at the first prune, and trains on with these."""

    def _prune(self, epoch_idx):
        layer, is_due = self.model.item_embedding, epoch_idx >= self.model.pruning_schedule.first_final_epoch
        if is_due and layer.is_whole:
            if layer.is_compact:
                self._change_layer(layer.expand)
            nonzeros = self.model.nonzeros_at(epoch_idx)
            autoencoder = self._fit_autoencoder(nonzeros)
            # Moments were taken along the former dimensions.
            self.optimizer.state.clear()
            self._change_layer(lambda: self.model.replace_item_embeddings(autoencoder, nonzeros))
        super()._prune(epoch_idx)
