"""The trainer of ELSASAE: ELSA's, then an autoencoder for the item embeddings that came out."""

from recbole.utils import set_color
from torch import distributed

from recbole_sparse_elsa.training.checkpoint import read_checkpoint
from recbole_sparse_elsa.training.pruning_trainer import PruningTrainer


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
        autoencoder = self._fit_autoencoder(self.model.k, show_progress)
        self.model.replace_item_embeddings(autoencoder, self.model.k)
        self.optimizer = self._build_optimizer()  # what it knew of the dense embeddings has no use any more
        if valid_data:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress)
            result = self.best_valid_score, self.best_valid_result
            self.logger.info(set_color("valid result of the codes", "blue") + f": {self.best_valid_result}")
        if self._saves:
            self._save_checkpoint(self.epochs - 1)
        return result
