"""How the number of non-zeros per item embedding falls to its target over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import require_whole_number

SCHEDULES = ("exponential", "linear", "stepwise", "constant")
#: Those that fall from wherever they start; the others say themselves where they begin.
SCHEDULES_FROM_START_K = ("exponential", "linear")


@dataclass(frozen=True)
class PruningSchedule:
    """The number of non-zeros k of each epoch (method page, section 2; Vančura et al., WWW 2026).

    Attributes
    ----------
    pruning_ks : tuple of int
        The k of each epoch before the final stage, never rising, all above ``k``; empty if there are none.
    k : int
        The target, held from epoch ``len(pruning_ks)`` on.
    """

    pruning_ks: tuple[int, ...]
    k: int

    @classmethod
    def create(
        cls,
        name: str,
        embedding_size: int,
        k: int,
        stage_epochs: int = 1,
        stepwise_k: Sequence[int] | None = None,
        start_k: int | None = None,
    ) -> PruningSchedule:
        """Build one of the schedules of the paper, or one like it that starts sparse.

        Parameters
        ----------
        name : {"exponential", "linear", "stepwise", "constant"}
            exponential: one epoch at d, then one at each ``floor(d * 2 ** -(i / stage_epochs + 1))``, i = 1, 2, …,
            until the target. linear: by equal steps from d, one epoch each, in as many epochs as exponential takes.
            stepwise: the values of ``stepwise_k``, ``stage_epochs`` epochs each. constant: k from the first epoch.
        embedding_size : int
            Width d of the item embeddings.
        k : int
            Target number of non-zeros per item embedding, in [1, d]. No schedule passes below it.
        stage_epochs : int
            Epochs per stage, E in the paper, at least 1.
        stepwise_k : sequence of int, optional
            The stages of the stepwise schedule, in [k, d], not rising. If the last one is not k, a stage at k follows.
        start_k : int, optional
            Number of non-zeros per item embedding at the start, in [k, d]: takes the place of d above. By default d, as
            in the paper.

        Returns
        -------
        PruningSchedule

        Raises
        ------
        OptionError
            A value is not allowed, or the target lies above the first k of the schedule.
        """
        for option, value in (("embedding_size", embedding_size), ("k", k), ("stage_epochs", stage_epochs)):
            require_whole_number(option, value, at_least=1)
        if name not in SCHEDULES:
            raise OptionError(f"pruning_schedule is {name!r}, but must be one of {', '.join(SCHEDULES)}")
        if k > embedding_size:
            raise OptionError(f"k is {k}, but must lie in [1, embedding_size], and embedding_size is {embedding_size}")
        start_option = "start_k"
        if start_k is None:
            start_option, start_k = "embedding_size", embedding_size
        elif isinstance(start_k, bool) or not isinstance(start_k, int) or not k <= start_k <= embedding_size:
            raise OptionError(
                f"start_k is {start_k!r}, but must be a whole number in [k, embedding_size], that is {k} to "
                f"{embedding_size}, none or auto"
            )
        if name == "stepwise":
            pruning_ks = _stepwise(k, stage_epochs, stepwise_k, {start_option: start_k})
        elif name == "constant" or k == start_k:
            pruning_ks = []
        else:
            pruning_ks = _exponential(start_k, k, stage_epochs)
            if name == "linear":
                steps = len(pruning_ks)
                pruning_ks = [start_k - (start_k - k) * step // steps for step in range(steps)]
        return cls(tuple(pruning_ks), k)

    def k_at(self, epoch: int) -> int:
        """The number of non-zeros per item embedding during ``epoch``, counted from 0."""
        return self.pruning_ks[epoch] if epoch < len(self.pruning_ks) else self.k

    @property
    def first_final_epoch(self) -> int:
        """The first epoch, counted from 0, that trains at the target k."""
        return len(self.pruning_ks)


def _exponential(start_k, k, stage_epochs):
    pruning_ks = [start_k]
    while True:
        next_k = math.floor(start_k * 2 ** -(len(pruning_ks) / stage_epochs + 1))
        # The formula alone can jump over the target, and would then end with fewer non-zeros than were asked for.
        if next_k <= k:
            return pruning_ks
        pruning_ks.append(next_k)


def _stepwise(k, stage_epochs, stepwise_k, start):
    ((start_option, start_k),) = start.items()
    given = f"stepwise_k is {stepwise_k!r}, but"
    if not isinstance(stepwise_k, (list, tuple)) or not stepwise_k:
        raise OptionError(f"{given} the stepwise schedule needs a list of whole numbers, such as [256, 128, 64]")
    if not all(isinstance(stage_k, int) and not isinstance(stage_k, bool) for stage_k in stepwise_k):
        raise OptionError(f"{given} all of its values must be whole numbers")
    if stepwise_k[0] > start_k:
        raise OptionError(f"{given} its first value must be at most {start_option}, which is {start_k}")
    if any(later > earlier for earlier, later in zip(stepwise_k, stepwise_k[1:])):
        raise OptionError(f"{given} its values must not rise")
    if k > stepwise_k[0]:
        raise OptionError(f"{given} its first value must be at least k, the target, which is {k}")
    if stepwise_k[-1] < k:
        raise OptionError(f"{given} none of its values may be below k, the target, which is {k}")
    return [stage_k for stage_k in stepwise_k if stage_k > k for _ in range(stage_epochs)]
