"""The trainer of ELSASAE: ELSA's, then an autoencoder for the item embeddings that came out."""

import torch
from recbole.utils import set_color
from torch import distributed
from tqdm import tqdm

from recbole_sparse_elsa.checkpoint import read_checkpoint
from recbole_sparse_elsa.trainer import PruningTrainer


class AutoencoderTrainer(PruningTrainer):
    """Trains ELSA to early stopping, and then fits a sparse autoencoder to the item embeddings of its best epoch.

    Without a saved model (``saved=False``) they are those of the last epoch, as RecBole then tests the last one.
    The validation result of the run, and its saved model, are those of the codes. A run that is interrupted while the
    autoencoder is fitted repeats ELSA's last epoch when it is resumed.
    """

    def _complete(self, result, valid_data, show_progress):
        if self._saves:
            if self._is_distributed:
                distributed.barrier()  # the process that writes the best model may still be at it
            self.model.load_state_dict(read_checkpoint(self.saved_model_file, self.device)["state_dict"])
        autoencoder = self._fit_autoencoder(show_progress)
        self.model.replace_item_embeddings(autoencoder)
        self.optimizer = self._build_optimizer()  # what it knew of the dense embeddings has no use any more
        if valid_data:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress)
            result = self.best_valid_score, self.best_valid_result
            self.logger.info(set_color("valid result of the codes", "blue") + f": {self.best_valid_result}")
        if self._saves:
            self._save_checkpoint(self.epochs - 1)
        return result

    def _fit_autoencoder(self, show_progress):
        embeddings = self.model.item_embedding().detach()
        # A generator of its own: the result depends on the seed and the embeddings, not on what was drawn before.
        generator = torch.Generator().manual_seed(self.config["seed"])
        autoencoder = self.model.create_autoencoder(generator)
        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=self.config["autoencoder_learning_rate"])
        epochs, batch_size = self.config["autoencoder_epochs"], self.config["autoencoder_batch_size"]
        losses = []
        for epoch in tqdm(range(epochs), ncols=100, desc="Autoencoder", disable=not show_progress):
            total = 0.0
            for items in torch.randperm(len(embeddings), generator=generator).to(self.device).split(batch_size):
                loss = autoencoder.loss(embeddings[items], self.model.k)
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
