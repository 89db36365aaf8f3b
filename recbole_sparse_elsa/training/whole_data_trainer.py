"""RecBole's Trainer for models that learn from all interactions at once."""

from collections.abc import Callable
from typing import Any

from recbole.trainer import TraditionalTrainer

from recbole_sparse_elsa.training.saving import SavesModelFiles, require_savable


class WholeDataTrainer(SavesModelFiles, TraditionalTrainer):
    """Lets a `TraditionalRecommender` learn in the only epoch, instead of going through batches of interactions."""

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """As `recbole.trainer.Trainer.fit`; what cannot be saved is refused before, see `require_savable`."""
        if saved:
            # The checkpoint and the model file.
            require_savable(self.config, self.saved_model_file, 2 * self.model.saved_bytes())
        return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self.model.learn(show_progress)
        return 0.0
