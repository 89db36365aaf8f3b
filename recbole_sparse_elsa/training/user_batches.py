"""Batches of users for training, whose interactions are gathered ahead of the step that needs them."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from recbole.data.dataloader import UserDataLoader
from recbole.data.interaction import Interaction

from recbole_sparse_elsa.core import UserBatch


class GatheredUsers(Interaction):
    """Users as RecBole hands them to a model, with their training interactions.

    Parameters
    ----------
    users : recbole.data.interaction.Interaction
        The users.
    batch : recbole_sparse_elsa.core.UserBatch
        The interactions to train on in this process: of those users who have any, or, on several processes, of this
        one's share of them.
    """

    def __init__(self, users: Interaction, batch: UserBatch) -> None:
        super().__init__(users.interaction)
        self.batch = batch

    def to(self, device: Any, selected_field: Any = None) -> "GatheredUsers":
        """As of Interaction; the batch is where the model is already."""
        return GatheredUsers(super().to(device, selected_field), self.batch)


class UserBatches(UserDataLoader):
    """RecBole's shuffled batches of users; a thread gathers the next one's interactions while one is trained on.

    Parameters
    ----------
    config, dataset, sampler
        Those of RecBole's UserDataLoader.
    gather : callable
        Makes the UserBatch of an Interaction that holds users. It must not draw random numbers: they would not come in
        the same order in every run.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, gather: Callable[[Interaction], UserBatch]) -> None:
        self._gather = gather
        super().__init__(config, dataset, sampler, shuffle=True)

    def __iter__(self) -> Iterator[GatheredUsers]:
        with ThreadPoolExecutor(max_workers=1) as thread:
            upcoming: Future[GatheredUsers] | None = None
            for users in super().__iter__():
                following = thread.submit(lambda users: GatheredUsers(users, self._gather(users)), users)
                if upcoming is not None:
                    yield upcoming.result()
                upcoming = following
            if upcoming is not None:
                yield upcoming.result()
