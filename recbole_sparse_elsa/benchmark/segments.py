"""``sparse-elsa benchmark segments``: segments beside k-means, and homepages beside a list and popular rows.

ELSA and SparseELSA are trained on the same users. SparseELSA's segments are compared with clusters of ELSA's dense item
embeddings by what genres or tags say, and its homepages of held-out users with its own ranking in a plain list.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from recbole.config import Config
from recbole.data.dataset import Dataset
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.metrics import mutual_info_score
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.data_options import DataOptions
from recbole_sparse_elsa.benchmark.reporting import require_positive, show, write_report
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.index.sparse_index import SparseIndex
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.model.sparse_elsa import SparseELSA
from recbole_sparse_elsa.options import DEFAULT_RATIO, require_whole_number
from recbole_sparse_elsa.runs.saved_run import index_of_dataset
from recbole_sparse_elsa.runs.training_run import away_from_the_command_line, create_trainer, load_data
from recbole_sparse_elsa.segments import homepage, read_item_file, segment_catalogue
from recbole_sparse_elsa.segments.segment_catalogue import require_ratio

_HIDDEN, _VALID_METRIC = 0.2, "NDCG@100"
_OURS, _KMEANS, _CHANCE = "segments of SparseELSA", "k-means on ELSA", "SparseELSA's sizes, items at random"
_HOMEPAGE, _BY_SCORES, _LIST, _POPULAR = "homepage", "homepage, rows by scores", "plain list", "popular rows"
_LABELS_EXPLANATION = """
NMI and purity are against the {n_labels} values of {label_field}, of {labelled} items that have one; an item with
several counts for each in equal parts. NMI is normalised by the mean of the entropies; purity is the part of the most
frequent value of each segment. Both rise with the number of segments, also by chance. k-means: scikit-learn, the best
of {kmeans_runs} runs.
"""
_EXPLANATION = """
{dataset}{filtered}: {items} items; {training_users} training users; {pages} folds of {test_users} held-out users, in
each of which {hidden:.0%} of the user's items are hidden. Rows: {rows} of at most {items_per_row}, items of the history
left out. "Homepage": SparseELSA's best segments by affinity, each with its best items; "rows by scores": those whose
row has the largest sum of scores; "plain list": its {shown} best items; "popular rows": the same segments, in the order
of their training interactions, with their most popular items.
"Found" is the share of hidden items that are shown, averaged over folds; "hit" the share of folds in which at least one
is; "coverage" the share of the catalogue that at least one user is shown. SparseELSA: k = {k};
ELSA: d = {elsa_embedding_size}; other options as shipped{from_files}; trained until {valid_metric} of the validation
users stops to rise, at most {epochs} epochs. Segments of at least {min_size} items{at_most}. Seed {seed}.
"""


@dataclass(frozen=True, kw_only=True)
class SegmentsBenchmark(DataOptions):
    """Segments beside k-means, and homepages beside lists, of models that it trains; see also `DataOptions`.

    Parameters
    ----------
    output : str
        Folder for the tables and CSV files.
    label_field : str, optional
        Field of the .item file to compare with; by default genre, if there is one.
    n_segments : sequence of int
        Numbers of segments.
    min_size : int
        Items that a segment has at least.
    max_ratio : float
        Items that a segment has at most, as a multiple of an even division; see `segment_catalogue`.
    rows, items_per_row : int
        Rows of a homepage, and items in a row.
    test_users : int
        Held-out users, and as many to validate on.
    k : int
        Non-zeros of SparseELSA's item embeddings, on average.
    elsa_embedding_size : int
        Width d of ELSA's item embeddings.
    epochs : int
        Epochs of each model at most.
    kmeans_runs : int
        Runs of k-means, of which the best counts.
    device : {"auto", "cpu", "cuda"}
        auto is cuda if there is one.
    seed : int
        Of the split, weights and k-means.
    """

    output: str
    label_field: str | None = None
    n_segments: Sequence[int] = (20, 50, 100)
    min_size: int = 10
    max_ratio: float = DEFAULT_RATIO
    rows: int = 5
    items_per_row: int = 10
    test_users: int = 1000
    k: int = 32
    elsa_embedding_size: int = 256
    epochs: int = 50
    kmeans_runs: int = 5
    device: str = "auto"
    seed: int = 2020

    def run(self) -> None:
        """Train, segment and measure; write segments.csv, homepages.csv and segments.md.

        Raises
        ------
        OptionError
            A parameter is not allowed, or so many segments cannot be had.
        DatasetError
            The data set, or its .item file, cannot be found or read.
        """
        _check(self)
        device, ran_on = environment.start(self.output, self.device)
        ran_on["scikit-learn"] = sklearn.__version__
        # Where the items' metadata are wrong, that is said before anything is trained.
        item_file, label_field = _label_source(self)
        config_files = self.config_files_found()
        data_options = self.recbole_options()
        with away_from_the_command_line():
            elsa, _ = _train("ELSA", self, config_files, data_options, device)
            sparse, data = _train("SparseELSA", self, config_files, data_options, device)
        dataset = data.train_data.dataset
        index = index_of_model(sparse, dataset)
        tokens, popularity = index.item_tokens, index.popularity
        largest = segment_catalogue(
            index.item_embeddings,
            tokens,
            max(self.n_segments),
            min_size=self.min_size,
            max_ratio=self.max_ratio,
            popularity=popularity,
        )
        cuts = [largest.cut(n) for n in dict.fromkeys(self.n_segments)]
        labels = None if label_field is None else _labels(item_file, tokens, label_field)
        segment_rows = _compare_labels(self, cuts, _item_embeddings(elsa), labels)
        pages = _held_out_pages(data.test_data.dataset, tokens)
        homepage_rows = _compare_homepages(self, cuts, index, popularity, pages)
        explanation = output.paragraph(
            _EXPLANATION,
            **vars(self),
            **self.in_words(),
            items=len(tokens),
            training_users=dataset.user_num - 1,
            pages=len(pages),
            hidden=_HIDDEN,
            shown=self.rows * self.items_per_row,
            valid_metric=_VALID_METRIC,
            at_most=(
                f" and of at most {self.max_ratio:g} times an even division" if math.isfinite(self.max_ratio) else ""
            ),
        )
        if labels is None:
            labels_explanation = f"No NMI or purity: data set {self.dataset} has no .item file with a field genre."
        else:
            labels_explanation = output.paragraph(
                _LABELS_EXPLANATION,
                kmeans_runs=self.kmeans_runs,
                label_field=label_field,
                n_labels=labels.shape[1],
                labelled=int((labels.sum(axis=1) > 0).sum()),
            )
        _write(self, segment_rows, homepage_rows, [labels_explanation, explanation], ran_on)


def _check(options):
    require_positive(options, "min_size", "rows", "items_per_row", "test_users", "k")
    require_positive(options, "elsa_embedding_size", "epochs", "kmeans_runs", "n_segments")
    require_whole_number("seed", options.seed, at_least=0)
    require_ratio(options.max_ratio)
    options.check_data_options()


def _train(model, options, config_files, data_options, device):
    """Train a model to its best on the validation users; the model, and the data."""
    config_dict = {
        **({"k": options.k} if model == "SparseELSA" else {"embedding_size": options.elsa_embedding_size}),
        "epochs": options.epochs,
        "seed": options.seed,
        **data_options,
        "use_gpu": device.type == "cuda",
        "eval_args": {
            "split": {"HU": {"test_users": options.test_users, "hidden": _HIDDEN}},
            "order": "RO",
            "group_by": "user",
            "mode": "full",
        },
        "metrics": ["NDCG"],
        "topk": [100],
        "valid_metric": _VALID_METRIC,
        "show_progress": False,
        "state": "WARNING",
        "save_step": 0,
    }
    config = Config(model, options.dataset, config_file_list=config_files, config_dict=config_dict)
    data = load_data(config)
    trainer = create_trainer(config, data.train_data)
    n_batches = math.ceil((data.train_data.dataset.user_num - 1) / config["train_batch_size"])
    with tqdm(total=n_batches * config["epochs"], unit="step", desc=f"{model}: training") as progress:
        trainer.optimizer.register_step_post_hook(lambda *_: progress.update())
        trainer.fit(data.train_data, data.valid_data, show_progress=False)
    # Loads the best epoch into the model.
    trainer.evaluate(data.valid_data, show_progress=False)
    trainer.tensorboard.close()
    return trainer.model, data


def index_of_model(model: SparseELSA, dataset: Dataset) -> SparseIndex:
    """A SparseIndex of a trained SparseELSA and its training interactions, with the model's scores."""
    embeddings = csr_matrix(_item_embeddings(model))
    return index_of_dataset(dataset, embeddings, model.item_embedding.item_scale, model.recipe.scales_input)


def _item_embeddings(model):
    """Of norm 1, as a dense matrix: float32."""
    return model.item_embedding().detach().cpu().numpy()


def _label_source(options):
    """The .item file, and its field of labels; None for the field if none was asked for and there is no genre."""
    item_file = os.path.join(options.data_path, options.dataset, f"{options.dataset}.item")
    if options.label_field is not None:
        read_item_file(item_file, [], [options.label_field])
        return item_file, options.label_field
    has_genre = os.path.isfile(item_file) and "genre" in read_item_file(item_file, []).fields
    return item_file, "genre" if has_genre else None


def _labels(item_file, tokens, field):
    """How much of each item each label has: float64, items x labels, rows that sum to 1, or 0 without a label."""
    of_items = read_item_file(item_file, tokens, [field]).fields[field]
    distinct = sorted({label for of_item in of_items for label in of_item})
    place_of = {label: place for place, label in enumerate(distinct)}
    labels = np.zeros((len(tokens), len(place_of)))
    for row, of_item in zip(labels, of_items):
        for label in set(of_item):
            row[place_of[label]] = 1 / len(set(of_item))
    return labels


def _compare_labels(options, cuts, elsa, labels):
    """A row for each number of segments and way to make them."""
    rows = []
    for cut in tqdm(cuts, desc="k-means", unit="cut"):
        ours = cut.segment_of_item
        kmeans = KMeans(len(cut), n_init=options.kmeans_runs, random_state=options.seed).fit_predict(elsa)
        chance = np.random.default_rng(options.seed).permutation(ours)
        for name, segment_of_item in ((_OURS, ours), (_KMEANS, kmeans), (_CHANCE, chance)):
            sizes = np.bincount(segment_of_item[segment_of_item >= 0])
            nmi, purity = (None, None) if labels is None else agreement(segment_of_item, labels)
            rows.append(
                {
                    "n_segments": len(cut),
                    "segments_by": name,
                    "nmi": nmi,
                    "purity": purity,
                    "smallest": int(sizes.min()),
                    "median_size": float(np.median(sizes)),
                    "largest": int(sizes.max()),
                    "left_over": int((segment_of_item < 0).sum()),
                }
            )
    return rows


def agreement(segment_of_item: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """How far segments and labels agree.

    Parameters
    ----------
    segment_of_item : numpy.ndarray
        int64, shape ``(n_items,)``; -1 for an item that is left over, and does not count.
    labels : numpy.ndarray
        float64, shape ``(n_items, n_labels)``: how much of an item has a label. Rows sum to 1, or to 0 for an item
        without a label, which does not count.

    Returns
    -------
    nmi : float
        Mutual information, divided by the mean of the entropies of segments and of labels; 0 where both are 0.
    purity : float
        The part of the items that have the most frequent label of their segment.
    """
    segmented = segment_of_item >= 0
    counts = np.zeros((segment_of_item.max() + 1, labels.shape[1]))
    np.add.at(counts, segment_of_item[segmented], labels[segmented])
    total = counts.sum()
    if total == 0:
        raise OptionError("no item that is in a segment has a label")
    mean_entropy = (_entropy(counts.sum(axis=0) / total) + _entropy(counts.sum(axis=1) / total)) / 2
    information = mutual_info_score(None, None, contingency=counts)
    return float(information / mean_entropy) if mean_entropy > 0 else 0.0, float(counts.max(axis=1).sum() / total)


def _entropy(shares):
    shares = shares[shares > 0]
    return -(shares * np.log(shares)).sum()


def _held_out_pages(test_dataset, tokens):
    """For each held-out user and fold the user's token, the tokens of the history, and the places of hidden items."""
    held_out = test_dataset.held_out_users
    hidden = test_dataset.inter_matrix(form="csr")
    pages = []
    for user_id, user in held_out.table[held_out.table.phase == "test"].user.items():
        history = held_out.histories[user_id].indices - 1
        pages.append((user, [tokens[place] for place in history], hidden[user_id].indices - 1))
    return pages


def _compare_homepages(options, cuts, index, popularity, pages):
    """A row for the plain list, and for each number of segments and way to fill rows."""
    n_shown = options.rows * options.items_per_row
    ways = {(None, _LIST): lambda history: index.recommend(history, n_shown).items}
    for cut in cuts:
        ways[len(cut), _HOMEPAGE] = _homepage_of(cut, index, options, "affinity")
        ways[len(cut), _BY_SCORES] = _homepage_of(cut, index, options, "scores")
        ways[len(cut), _POPULAR] = _popular_rows_of(cut, index, popularity, options)
    rows, place_of = [], {token: place for place, token in enumerate(index.item_tokens)}
    with tqdm(total=len(ways) * len(pages), unit="page", desc="homepages") as progress:
        for (n_segments, name), items_for in ways.items():
            found, n_items, shown_to_anyone = [], [], np.zeros(index.n_items, dtype=bool)
            for _, history, hidden in pages:
                shown = [place_of[token] for token in items_for(history)]
                shown_to_anyone[shown] = True
                found.append(np.isin(hidden, shown).mean())
                n_items.append(len(shown))
                progress.update()
            rows.append(
                {
                    "n_segments": n_segments,
                    "shown_as": name,
                    "found": float(np.mean(found)),
                    "hit": float(np.mean(np.array(found) > 0)),
                    "coverage": float(shown_to_anyone.mean()),
                    "items_shown": float(np.mean(n_items)),
                }
            )
    return rows


def _homepage_of(cut, index, options, rows_by):
    def items_for(history):
        page = homepage(index, cut, history, options.rows, options.items_per_row, rows_by)
        return [item for row in page.rows for item in row.items]

    return items_for


def _popular_rows_of(cut, index, popularity, options):
    # The items of a segment are listed by popularity already.
    rows = sorted(cut, key=lambda segment: -popularity[segment.items].sum())

    def items_for(history):
        seen = set(history)
        left = ([token for token in segment.item_tokens if token not in seen] for segment in rows)
        filled = itertools.islice(filter(None, left), options.rows)
        return [token for row in filled for token in row[: options.items_per_row]]

    return items_for


def _write(options, segment_rows, homepage_rows, explanations, ran_on):
    segment_table = output.markdown_table(
        [
            {
                "segments": row["n_segments"],
                "by": row["segments_by"],
                "NMI": _digits(row["nmi"]),
                "purity": _digits(row["purity"]),
                "smallest / median / largest": f"{row['smallest']} / {row['median_size']:g} / {row['largest']}",
            }
            for row in segment_rows
        ]
    )
    homepage_table = output.markdown_table(
        [
            {
                "shown as": row["shown_as"],
                "segments": "" if row["n_segments"] is None else row["n_segments"],
                "found": _digits(row["found"]),
                "hit": _digits(row["hit"]),
                "coverage": _digits(row["coverage"]),
                "items shown": f"{row['items_shown']:.1f}",
            }
            for row in homepage_rows
        ]
    )
    parts = [segment_table, explanations[0], homepage_table, explanations[1]]
    show(parts)
    names = ("dataset", "k", "elsa_embedding_size", "max_ratio", "seed")
    run_with = {name: getattr(options, name) for name in names}
    tables = {
        name: [{**row, **run_with} for row in rows]
        for name, rows in (("segments", segment_rows), ("homepages", homepage_rows))
    }
    write_report(options.output, "segments", "Segments and homepages", parts, tables, ran_on)


def _digits(value):
    return "" if value is None else f"{value:.3f}"
