"""``sparse-elsa benchmark retrieval``: the top items for one user by the index, beside dense embeddings and others.

One query is timed from a history to the n best items that are not in it, on one thread. The methods take turns, a block
of queries each, so that whatever else the machine does meets all alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.encoding_loss import encoding_losses
from recbole_sparse_elsa.benchmark.reporting import require_positive, show, write_report
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.index.posting_lists import best
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.machine.memory import available_memory
from recbole_sparse_elsa.options import require_k_within

_ROUNDS = 5
# Beyond this many items, building a graph takes hours on one thread.
_MOST_ITEMS_OF_HNSW = 20_000

_EXPLANATION = """
One user, the {n} best items that are not in the history, one thread; {queries} queries each, in turn by blocks. "Index"
is SparseIndex.recommend (float32, tokens to tokens), exact: before the timing its answers were those of all scores
sorted. "CSR product" scores all items by SciPy. "Dense ELSA": d = {dense_size}, float32, one BLAS product and the same
top-n as the index; "faster" is the index's gain on it, the median over {rounds} blocks of the ratio of their medians.
FAISS searches the dense embeddings for n + the history's length. EASE sums the rows of the history in an items x items
float32 matrix. Embeddings are random: supports uniform, values normal, d = {embedding_size}; histories uniform; seed
{seed}.
"""


@dataclass(frozen=True)
class Cell:
    """One size of catalogue, item embeddings and history."""

    items: int
    k: int
    history: int

    def __str__(self):
        return f"{self.items:,} items, k {self.k:,}, history {self.history:,}"


@dataclass(frozen=True, kw_only=True)
class RetrievalBenchmark:
    """Queries of the index beside other ways to recommend, on one thread of the CPU, and what its encodings cost.

    Parameters
    ----------
    output : str
        Folder for the tables, CSV files and plots.
    items : sequence of int
        Items of the catalogue, measured at the first ``k`` and ``history``.
    k, history : sequence of int
        Non-zeros per item embedding, and items of a user; all but the first are measured at the smallest catalogue.
    embedding_size, dense_size : int
        Width d of the sparse item embeddings, and of dense ELSA's.
    n : int
        Items to recommend.
    queries : int
        Timed queries of each method.
    seed : int
        Of embeddings and histories.
    checkpoint : str, optional
        SparseELSA whose NDCG@100 is measured in each encoding; by default one is trained on ml-100k.
    data_path : str, optional
        Folder that holds the folder of the checkpoint's data set.
    """

    output: str
    items: Sequence[int] = (20_000, 1_000_000)
    k: Sequence[int] = (16, 8, 32, 64, 128)
    history: Sequence[int] = (100, 10, 30, 300, 1000)
    embedding_size: int = 4096
    dense_size: int = 800
    n: int = 100
    queries: int = 100
    seed: int = 2020
    checkpoint: str | None = None
    data_path: str | None = None

    def run(self) -> None:
        """Measure every cell; write retrieval.csv, retrieval_encodings.csv, retrieval.md and the plots.

        Raises
        ------
        OptionError
            A parameter is not allowed, or a size does not fit the memory.
        CheckpointError, DatasetError
            The checkpoint, or its data set, cannot be used.
        """
        require_positive(self, "items", "k", "history", "embedding_size", "dense_size", "n", "queries")
        require_k_within(max(self.k), self.embedding_size)
        if self.n + max(self.history) > min(self.items):
            raise OptionError(
                f"items is {min(self.items)}, but must be at least n + history, which is {self.n + max(self.history)}"
            )
        _, ran_on = environment.start(self.output, "cpu")
        ran_on["threads"] = 1
        with threadpool_limits(1):
            encodings = encoding_losses(self.checkpoint, self.data_path)
            rows: list[dict] = []
            left_out: list[str] = []
            for cell in _cells(self):
                cell_rows, notes = _measure(cell, self)
                rows += cell_rows
                left_out += [f"{cell}: {note}" for note in notes]
        _write(self, rows, encodings, left_out, ran_on)


def _cells(options):
    first_k, first_history = options.k[0], options.history[0]
    cells = [Cell(items, first_k, first_history) for items in options.items]
    smallest = min(options.items)
    cells += [Cell(smallest, k, first_history) for k in options.k[1:]]
    return cells + [Cell(smallest, first_k, history) for history in options.history[1:]]


# The methods: each takes the positions of a history's items and returns those of the n best others


def _ours(cell, options, item_embeddings):
    tokens = [str(position) for position in range(cell.items)]
    index = SparseIndex(item_embeddings, tokens)

    def recommend(history):
        return index.recommend(history, options.n).items

    def prepare(history):
        return [tokens[position] for position in history]

    def positions(items):
        return items.astype(np.int64)

    return recommend, prepare, positions


def _unchanged(value):
    return value


def _masked_best(scores, history, n):
    scores[history] = -np.inf
    return best(scores, n)


def _csr_product(cell, options, item_embeddings):
    def recommend(history):
        user_vector = np.asarray(item_embeddings[history].sum(axis=0)).ravel()
        return _masked_best(item_embeddings @ user_vector, history, options.n)

    return recommend, _unchanged, _unchanged


def _dense_embeddings(cell, options):
    rng = np.random.default_rng(options.seed)
    embeddings = rng.standard_normal((cell.items, options.dense_size), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def _dense_elsa(cell, options, dense):
    def recommend(history):
        return _masked_best(dense @ dense[history].sum(axis=0), history, options.n)

    return recommend, _unchanged, _unchanged


def _faiss(index, options, dense):
    def recommend(history):
        _, found = index.search(dense[history].sum(axis=0, keepdims=True), options.n + len(history))
        return found[0][~np.isin(found[0], history)][: options.n]

    return recommend, _unchanged, _unchanged


def _ease(cell, options):
    rng = np.random.default_rng(options.seed)
    weights = np.empty((cell.items, cell.items), dtype=np.float32)
    for row in weights:
        rng.standard_normal(dtype=np.float32, out=row)

    def recommend(history):
        return _masked_best(weights[history].sum(axis=0), history, options.n)

    return recommend, _unchanged, _unchanged


def _methods(cell, options, item_embeddings):
    """The methods by name, and why others are left out."""
    methods = {"index": _ours(cell, options, item_embeddings)}
    methods["CSR product"] = _csr_product(cell, options, item_embeddings)
    notes = []
    dense_bytes = 4 * cell.items * options.dense_size
    if not _fits(dense_bytes):
        return methods, [f"dense ELSA needs {dense_bytes / 1e9:.1f} GB and is left out"]
    dense = _dense_embeddings(cell, options)
    methods["dense ELSA"] = _dense_elsa(cell, options, dense)
    if cell.k != options.k[0] or cell.history != options.history[0]:
        return methods, notes
    try:
        import faiss
    except ImportError:
        notes.append('FAISS is not installed and is left out; run: pip install "recbole_sparse_elsa[faiss]"')
    else:
        faiss.omp_set_num_threads(1)
        if _fits(dense_bytes):
            flat = faiss.IndexFlatIP(options.dense_size)
            flat.add(dense)
            methods["FAISS flat"] = _faiss(flat, options, dense)
        else:
            notes.append(f"FAISS flat needs {dense_bytes / 1e9:.1f} GB more and is left out")
        if cell.items <= _MOST_ITEMS_OF_HNSW:
            hnsw = faiss.IndexHNSWFlat(options.dense_size, 32, faiss.METRIC_INNER_PRODUCT)
            hnsw.hnsw.efSearch = 2 * (options.n + cell.history)
            hnsw.add(dense)
            methods["FAISS HNSW"] = _faiss(hnsw, options, dense)
        else:
            notes.append(f"FAISS HNSW is built up to {_MOST_ITEMS_OF_HNSW:,} items and is left out")
    if _fits(4 * cell.items**2):
        methods["EASE"] = _ease(cell, options)
    else:
        notes.append(f"EASE needs {4 * cell.items**2 / 1e9:,.1f} GB and is left out")
    return methods, notes


def _fits(n_bytes):
    return n_bytes < 0.8 * available_memory()


def random_item_embeddings(items: int, embedding_size: int, k: int, seed: int) -> csr_matrix:
    """Item embeddings with k non-zeros each, rows of norm 1: places uniform, values normal; float32."""
    rng = np.random.default_rng(seed)
    # One place in each of k equal stretches of the dimensions, so that no place is drawn twice.
    edges = np.linspace(0, embedding_size, k + 1).astype(np.int64)
    columns = rng.integers(edges[:-1], edges[1:], (items, k), dtype=np.int64).astype(np.int32)
    values = rng.standard_normal((items, k), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    pointers = np.arange(items + 1, dtype=np.int64) * k
    return csr_matrix((values.ravel(), columns.ravel(), pointers), shape=(items, embedding_size))


def _measure(cell, options):
    needed = 40 * cell.items * cell.k + 300 * cell.items
    if not _fits(needed):
        raise OptionError(f"{cell} need {needed / 1e9:.1f} GB of memory, more than there are: give fewer items")
    item_embeddings = random_item_embeddings(cell.items, options.embedding_size, cell.k, options.seed)
    methods, notes = _methods(cell, options, item_embeddings)
    rng = np.random.default_rng([options.seed, cell.items])
    per_round = -(-options.queries // _ROUNDS)
    histories = [
        [rng.choice(cell.items, cell.history, replace=False) for _ in range(per_round)] for _ in range(_ROUNDS)
    ]
    recalls = _check(cell, options, methods, item_embeddings, histories[0])
    rows = []
    with tqdm(total=_ROUNDS * len(methods), desc=str(cell), unit="block") as progress:
        for block, of_block in enumerate(histories):
            for name, (recommend, prepare, _) in methods.items():
                for query, history in enumerate(of_block):
                    prepared = prepare(history)
                    start = time.perf_counter()
                    recommend(prepared)
                    seconds = time.perf_counter() - start
                    row = {**vars(cell), "method": name, "block": block, "query": query, "seconds": seconds}
                    rows.append({**row, "recall": recalls[name]})
                progress.update()
    return rows, notes


def _check(cell, options, methods, item_embeddings, histories):
    """Stop unless the index is exact; the share of the exact top n that each method finds. It warms them up, too."""
    found = {name: [] for name in methods}
    for history in histories[:5]:
        user_vector = np.asarray(item_embeddings[history].sum(axis=0)).ravel()
        scores = item_embeddings @ user_vector
        scores[history] = -np.inf
        expected = np.sort(scores)[::-1][: options.n]
        answers = {
            name: positions(recommend(prepare(history))) for name, (recommend, prepare, positions) in methods.items()
        }
        if not np.allclose(scores[answers["index"]], expected, rtol=0, atol=1e-5):
            raise RuntimeError(f"{cell}: the index does not find the best items, so its time means nothing")
        for name, answer in answers.items():
            exact = answers.get("dense ELSA") if name.startswith("FAISS") else answer
            found[name].append(len(np.intersect1d(answer, exact)) / options.n)
    return {name: statistics.mean(shares) for name, shares in found.items()}


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Percentiles of each cell and method, and how much faster the index is than dense ELSA, from all queries' rows."""
    summaries = []
    for cell in dict.fromkeys((row["items"], row["k"], row["history"]) for row in rows):
        of_cell = [row for row in rows if (row["items"], row["k"], row["history"]) == cell]
        by_block: dict[str, dict[int, list[float]]] = {}
        for row in of_cell:
            by_block.setdefault(row["method"], {}).setdefault(row["block"], []).append(row["seconds"])
        medians = {
            name: [statistics.median(seconds) for seconds in blocks.values()] for name, blocks in by_block.items()
        }
        for name, of_blocks in medians.items():
            seconds = [row["seconds"] for row in of_cell if row["method"] == name]
            dense = medians.get("dense ELSA")
            summaries.append(
                {
                    **dict(zip(("items", "k", "history"), cell)),
                    "method": name,
                    "p50_seconds": float(np.percentile(seconds, 50)),
                    "p99_seconds": float(np.percentile(seconds, 99)),
                    "times_faster": dense and statistics.median(d / own for d, own in zip(dense, of_blocks)),
                    "recall": next(row["recall"] for row in of_cell if row["method"] == name),
                }
            )
    return summaries


def _readable(summary):
    faster = summary["times_faster"]
    return {
        "items": f"{summary['items']:,}",
        "k": f"{summary['k']:,}",
        "history": f"{summary['history']:,}",
        "method": summary["method"],
        "p50 (ms)": f"{1e3 * summary['p50_seconds']:.3g}",
        "p99 (ms)": f"{1e3 * summary['p99_seconds']:.3g}",
        "faster than dense ELSA": "" if faster is None else f"{faster:.1f} x",
        "of its exact top n": f"{summary['recall']:.0%}",
    }


def _write(options, rows, encodings, left_out, ran_on):
    summaries = summarise(rows)
    table = output.markdown_table([_readable(summary) for summary in summaries])
    explanation = output.paragraph(_EXPLANATION, rounds=_ROUNDS, **vars(options))
    encoding_table = output.markdown_table([row.readable() for row in encodings.rows])
    parts = [table, *left_out, explanation, encoding_table, encodings.explanation]
    show(parts)
    write_report(
        options.output,
        "retrieval",
        "Retrieval",
        parts,
        {
            "retrieval": [{**row, "seed": options.seed} for row in rows],
            "retrieval_summary": [{**row, "seed": options.seed} for row in summaries],
            "retrieval_encodings": [vars(row) for row in encodings.rows],
        },
        ran_on,
        lambda file, line: _plot(file, options, summaries, f"{line} Seed {options.seed}."),
    )


def _plot(file, options, summaries, footer):
    """Plot the cost of a query against items, k and history length, one plot each, and return the files' names."""
    if not output.matplotlib_is_installed():
        return []
    smallest, written = min(options.items), []
    fixed = {"items": smallest, "k": options.k[0], "history": options.history[0]}
    labels = {"items": "items", "k": "k (non-zeros per item embedding)", "history": "items of the history"}
    for varied, label in labels.items():
        others = [name for name in fixed if name != varied]
        shown = [row for row in summaries if all(row[name] == fixed[name] for name in others)]
        if len({row[varied] for row in shown}) < 2:
            continue
        axes = output.new_axes()
        for name in dict.fromkeys(row["method"] for row in shown):
            points = sorted((row[varied], 1e3 * row["p50_seconds"]) for row in shown if row["method"] == name)
            axes.plot(*zip(*points), "o-", label=name)
        title = ", ".join(f"{labels[name].split(' (')[0]} {fixed[name]:,}" for name in others)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="milliseconds per query (p50)", title=title)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
        written += output.save_figure(axes.figure, f"{file}_by_{varied}", footer)
    return written
