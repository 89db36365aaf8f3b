"""What the explorer plots of a leaderboard: accuracy against bytes per item."""

import math
import os
from typing import Any

from recbole_sparse_elsa.leaderboard.read_results import mean_over_seeds, read_results, smaller_is_better


def accuracy_by_size(results_csv: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The test results of a leaderboard whose size is known.

    Parameters
    ----------
    results_csv : str or os.PathLike
        A leaderboard's results.csv.

    Returns
    -------
    list of dict
        One for each data set, method, size and metric, with ``dataset``, ``metric``, ``smaller_is_better``, ``method``,
        ``name``, ``bytes`` (per item), ``mean`` and ``sd`` (None for a single seed).

    Raises
    ------
    OptionError
        The file is no result of a leaderboard.
    """
    means: Any = mean_over_seeds(read_results(results_csv))
    return [
        {
            "dataset": row.dataset,
            "metric": row.metric,
            "smaller_is_better": smaller_is_better(row.metric),
            "method": row.method,
            "name": row.name,
            "bytes": row.bytes_per_item,
            "mean": row.mean,
            "sd": row.sd if math.isfinite(row.sd) else None,
        }
        for row in means.itertuples(index=False)
        if row.bytes_per_item > 0 and math.isfinite(row.mean)
    ]
