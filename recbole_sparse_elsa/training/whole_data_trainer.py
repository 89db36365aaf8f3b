"""RecBole's Trainer for models that learn from all interactions at once."""

from recbole.trainer import TraditionalTrainer


class WholeDataTrainer(TraditionalTrainer):
    """Lets a `TraditionalRecommender` learn in the only epoch, instead of going through batches of interactions."""

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self.model.learn(show_progress)
        return 0.0
