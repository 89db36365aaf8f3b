"""Evaluation on a sample of the catalogue (uni100, pop100): what is drawn, whether it stays, and what it is worth.

RecBole's documentation: "uniformly sample 100 negative items for each positive item in testing set, and evaluate the
model on these positive items with their sampled negative items".
"""

import glob
import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import check_one_line, make_config, prepare, write_interactions
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.quick_start import load_data_and_model
from recbole.utils import InputType, get_trainer, init_seed
from sklearn import metrics as sk

from recbole_sparse_elsa.errors import DatasetError

pytestmark = pytest.mark.usefixtures("root_logger")


MODES = ["uni5", "pop5"]
#: Models that train by pairs, by points, by users, and not at all.
MODELS = ["BPR", "NeuMF", "MultiVAE", "SparseELSA", "EASE", "Pop", "ItemKNN"]


def sampled(model, dataset, mode, **options):
    if model in ("MultiVAE", "SparseELSA"):
        options.setdefault("train_neg_sample_args", None)
    split = options.pop("split", {"RS": [0.6, 0.2, 0.2]})
    return prepare(
        model,
        dataset,
        **{
            "eval_args": {"mode": mode, "split": split},
            "topk": [1, 5],
            "valid_metric": "NDCG@5",
            "metric_decimal_place": 12,
            "epochs": 3,
            "stage_epochs": 1,
            **options,
        },
    )


def drawn(data):
    """Of each user the items that one pass ranks, with repeats, the targets first."""
    items = defaultdict(list)
    for interaction, rows, _, _ in data:
        assert len(interaction) == len(rows)
        for user, item in zip(interaction["user_id"].tolist(), interaction["item_id"].tolist()):
            items[user].append(item)
    return dict(items)


def items_of(*parts):
    items = defaultdict(set)
    for data in parts:
        feature = data.dataset.inter_feat
        for user, item in zip(feature["user_id"].tolist(), feature["item_id"].tolist()):
            items[user].add(item)
    return items


def figures(run, data):
    return dict(run.trainer.evaluate(data, load_best_model=False))


# The same candidates, the same figure ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_each_pass_has_the_same_candidates(random_dataset, mode):
    run = sampled("BPR", random_dataset, mode)
    for data in (run.valid_data, run.test_data):
        assert drawn(data) == drawn(data)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_evaluation_gives_the_same_figure(random_dataset, mode):
    run = sampled("EASE", random_dataset, mode)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert figures(run, run.test_data) == figures(run, run.test_data)


@pytest.mark.parametrize("mode", MODES)
def test_an_evaluation_in_between_changes_nothing(random_dataset, mode):
    found = []
    for evaluations in (0, 3):
        run = sampled("EASE", random_dataset, mode)
        run.trainer.fit(run.train_data, run.valid_data, saved=False)
        for _ in range(evaluations):
            figures(run, run.valid_data)
        found.append(figures(run, run.test_data))
    assert found[0] == found[1]


@pytest.mark.parametrize("mode", MODES)
def test_every_model_is_ranked_on_the_same_candidates(random_dataset, mode):
    found = []
    for model in MODELS:
        run = sampled(model, random_dataset, mode)
        run.trainer.fit(run.train_data, run.valid_data, saved=False)
        found.append((drawn(run.valid_data), drawn(run.test_data)))
    for model, candidates in zip(MODELS[1:], found[1:]):
        assert candidates == found[0], model


@pytest.mark.parametrize("mode", MODES)
def test_the_validation_has_the_same_candidates_in_each_epoch(random_dataset, mode):
    # A model that stays as it is.
    run = sampled("BPR", random_dataset, mode, learning_rate=1e-30, epochs=4)
    scores = []
    run.trainer.fit(
        run.train_data, run.valid_data, saved=False, callback_fn=lambda epoch, score: scores.append(score)
    )
    assert scores == scores[:1] * 4


@pytest.mark.parametrize("model", ["BPR", "EASE", "SparseELSA"])
@pytest.mark.parametrize("mode", MODES)
def test_a_loaded_checkpoint_gives_the_same_figure(random_dataset, model, mode):
    run = sampled(model, random_dataset, mode)
    _, best_valid = run.trainer.fit(run.train_data, run.valid_data)
    expected = run.trainer.evaluate(run.test_data)
    (checkpoint,) = glob.glob(f"saved/{model}-*[0-9a-f].pth")
    config, model, _, _, valid_data, test_data = load_data_and_model(checkpoint)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == expected
    assert trainer.evaluate(valid_data, load_best_model=False) == best_valid


@pytest.mark.parametrize("mode", ["full", *MODES])
def test_evaluating_does_not_change_the_training(random_dataset, mode):
    weights = []
    for eval_step in (1, 3):
        run = sampled("BPR", random_dataset, mode, eval_step=eval_step)
        run.trainer.fit(run.train_data, run.valid_data, saved=False)
        weights.append(run.model.user_embedding.weight.tolist())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("mode", MODES)
def test_the_size_of_batches_does_not_matter(random_dataset, mode):
    candidates = [
        drawn(sampled("BPR", random_dataset, mode, eval_batch_size=size).test_data) for size in (1, 100, 10**6)
    ]
    assert candidates[0] == candidates[1] == candidates[2]


@pytest.mark.parametrize("mode", MODES)
def test_another_seed_and_another_part_have_other_candidates(random_dataset, mode):
    def negatives(run, data):
        return {user: set(items) for user, items in drawn(data).items()}

    runs = [sampled("BPR", random_dataset, mode, seed=seed) for seed in (1, 2)]
    assert negatives(runs[0], runs[0].test_data) != negatives(runs[1], runs[1].test_data)


# What is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("eval_batch_size", [1, 70, 10**6])
def test_every_user_has_their_targets_and_nothing_they_know(random_dataset, mode, eval_batch_size):
    run = sampled("BPR", random_dataset, mode, eval_batch_size=eval_batch_size)
    train, valid, test = (items_of(data) for data in (run.train_data, run.valid_data, run.test_data))
    for data, targets, known in (
        (run.valid_data, valid, [train]),
        (run.test_data, test, [train, valid]),
    ):
        candidates = drawn(data)
        assert candidates.keys() == targets.keys()
        for user, items in candidates.items():
            assert len(items) == 6 * len(targets[user])
            assert set(items[: len(targets[user])]) == targets[user]
            others = set(items[len(targets[user]) :])
            assert not others & (targets[user].union(*(part[user] for part in known)) | {0})


@pytest.mark.parametrize("mode", MODES)
def test_no_item_is_drawn_twice_for_a_user_who_has_enough_others(random_dataset, mode):
    run = sampled("BPR", random_dataset, mode)
    known, n_items = items_of(run.train_data, run.valid_data, run.test_data), run.dataset.item_num - 1
    for user, items in drawn(run.test_data).items():
        targets = len(items) // 6
        if n_items - len(known[user]) >= 5 * targets:
            assert len(set(items)) == len(items)
        else:
            assert len(set(items)) == targets + n_items - len(known[user])


def one_target_each(folder, n_users, n_items, likely=None):
    """Users who know four items by chance, the last of which is the target; all equally likely, or as given."""
    random = np.random.default_rng(0)
    likely = np.ones(n_items) if likely is None else likely
    choose = lambda: random.choice(n_items, 4, replace=False, p=likely / likely.sum())  # noqa: E731
    pairs = [(f"u{user}", f"i{item}") for user in range(n_users) for item in choose()]
    write_interactions(folder / "dataset", "one", pairs)
    return "one"


LAST = {"LS": "valid_and_test"}


def test_items_are_drawn_uniformly(working_folder):
    run = sampled("BPR", one_target_each(working_folder, 600, 40), "uni10", split=LAST)
    known = items_of(run.train_data, run.valid_data, run.test_data)
    n_items = run.dataset.item_num - 1
    times, expected = np.zeros(n_items + 1), np.zeros(n_items + 1)
    for user, items in drawn(run.test_data).items():
        np.add.at(times, items[1:], 1)
        others = [item for item in range(1, n_items + 1) if item not in known[user]]
        expected[others] += 10 / len(others)
    assert scipy.stats.chisquare(times[1:], expected[1:]).pvalue > 1e-3


def alias_probabilities(sampler):
    """How likely the alias table of a sampler makes each item."""
    likely = Counter()
    for item, part in sampler.prob.items():
        likely[item] += min(part, 1) / len(sampler.prob)
        if part < 1:
            likely[sampler.alias[item]] += (1 - part) / len(sampler.prob)
    return likely


def popularity(run, exponent=1.0):
    parts = (run.train_data, run.valid_data, run.test_data)
    counts = Counter(item for data in parts for item in data.dataset.inter_feat["item_id"].tolist())
    total = sum(count**exponent for count in counts.values())
    return {item: count**exponent / total for item, count in counts.items()}


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.75])
def test_training_draws_by_popularity_to_the_exponent(random_dataset, exponent):
    arguments = {"distribution": "popularity", "sample_num": 1, "alpha": exponent}
    run = sampled("BPR", random_dataset, "full", train_neg_sample_args=arguments)
    assert alias_probabilities(run.train_data._sampler) == pytest.approx(popularity(run, exponent), abs=1e-9)


@pytest.mark.parametrize("exponent", [1.0, 0.0])
def test_evaluation_draws_by_popularity_whatever_training_does(working_folder, exponent):
    name = one_target_each(working_folder, 1500, 20, likely=1 / np.arange(1, 21))
    arguments = {"distribution": "popularity", "sample_num": 1, "alpha": exponent}
    run = sampled("BPR", name, "pop1", split=LAST, train_neg_sample_args=arguments)
    likely = popularity(run)
    for data, known in (
        (run.valid_data, items_of(run.train_data, run.valid_data)),
        (run.test_data, items_of(run.train_data, run.valid_data, run.test_data)),
    ):
        times, expected = dict.fromkeys(likely, 0), dict.fromkeys(likely, 0.0)
        for user, (_, item) in drawn(data).items():
            times[item] += 1
            others = {other: chance for other, chance in likely.items() if other not in known[user]}
            for other, chance in others.items():
                expected[other] += chance / sum(others.values())
        assert scipy.stats.chisquare(list(times.values()), list(expected.values())).pvalue > 1e-3


@pytest.mark.parametrize("modes", list(itertools.permutations(["uni5", "pop5", "full"], 2)))
def test_validation_and_test_each_draw_as_they_are_told(random_dataset, modes):
    run = sampled("BPR", random_dataset, dict(zip(("valid", "test"), modes)))
    for mode, data in zip(modes, (run.valid_data, run.test_data)):
        assert data._sampler.distribution == ("popularity" if mode == "pop5" else "uniform")
    assert run.train_data._sampler.distribution == "uniform"


# What the figures are ---------------------------------------------------------------------------------------------


def judged(rows, k):
    """Recall, NDCG, hit rate, MRR and precision of rankings in which each item is a target (1) or not (0)."""
    values = defaultdict(list)
    for labels, scores in rows:
        ranking = [label for _, label in sorted(zip(scores, labels), key=lambda pair: -pair[0])]
        hits, targets = ranking[:k], sum(labels)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, targets)))
        values["recall"].append(sum(hits) / targets)
        values["ndcg"].append(sum(label / math.log2(place + 2) for place, label in enumerate(hits)) / ideal)
        values["hit"].append(max(hits))
        values["mrr"].append(next((1 / (place + 1) for place, label in enumerate(hits) if label), 0))
        values["precision"].append(sum(hits) / k)
    return {f"{name}@{k}": np.mean(of_users) for name, of_users in values.items()}


def scores_of_all(run):
    n_users, n_items = run.dataset.user_num, run.dataset.item_num
    pairs = {
        "user_id": torch.arange(n_users).repeat_interleave(n_items),
        "item_id": torch.arange(n_items).repeat(n_users),
    }
    with torch.no_grad():
        return run.model.predict(Interaction(pairs)).view(n_users, n_items).double().numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", ["BPR", "EASE", "MultiVAE", "SparseELSA"])
@pytest.mark.parametrize("eval_batch_size", [50, 4096])
def test_figures_of_a_sample_by_hand(random_dataset, model, mode, eval_batch_size):
    run = sampled(model, random_dataset, mode, eval_batch_size=eval_batch_size)
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    scores, targets = scores_of_all(run), items_of(run.test_data)
    tokens, rows = run.dataset.field2id_token["item_id"], []
    for user, items in drawn(run.test_data).items():
        # Of equal scores the first token counts as the higher one.
        different = sorted(set(items), key=lambda item: tokens[item])
        rows.append(([int(item in targets[user]) for item in different], scores[user, different]))
    found = figures(run, run.test_data)
    assert found == pytest.approx({**judged(rows, 1), **judged(rows, 5)}, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_values_of_a_sample_by_scikit_learn(random_dataset, mode):
    run = sampled("NeuMF", random_dataset, mode, metrics=["AUC", "LogLoss", "RMSE", "MAE"], valid_metric="AUC")
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    scores, targets = scores_of_all(run), items_of(run.test_data)
    pairs = [(user, item) for user, items in drawn(run.test_data).items() for item in items]
    labels = [int(item in targets[user]) for user, item in pairs]
    values = [scores[pair] for pair in pairs]
    expected = {
        "auc": sk.roc_auc_score(labels, values),
        "logloss": sk.log_loss(labels, values),
        "rmse": math.sqrt(np.mean((np.array(labels) - values) ** 2)),
        "mae": np.mean(np.abs(np.array(labels) - values)),
    }
    assert figures(run, run.test_data) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("model", ["BPR", "EASE", "ItemKNN", "MultiVAE", "SparseELSA"])
def test_a_sample_of_everything_is_the_whole_catalogue(random_dataset, model):
    metrics = ["Recall", "NDCG", "MAP", "GAUC"]
    found = []
    for mode in ("full", "uni300"):
        run = sampled(model, random_dataset, mode, metrics=metrics)
        # The validation draws, and with it what training sees.
        run.trainer.fit(run.train_data, saved=False)
        found.append(figures(run, run.test_data))
    assert found[0] == pytest.approx(found[1], abs=1e-6)


class _ByChance(GeneralRecommender):
    """Scores each user and item by chance, always the same."""

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        generator = torch.Generator().manual_seed(0)
        self.scores = torch.nn.Parameter(torch.rand(self.n_users, self.n_items, generator=generator))

    def predict(self, interaction):
        return self.scores[interaction["user_id"], interaction["item_id"]]


def test_chance_finds_the_target_as_often_as_by_chance(working_folder):
    name = one_target_each(working_folder, 3000, 60)
    run = sampled("BPR", name, "uni20", split=LAST, metrics=["Hit"], valid_metric="Hit@5")
    trainer = get_trainer(run.config["MODEL_TYPE"], "BPR")(run.config, _ByChance(run.config, run.train_data.dataset))
    found = trainer.evaluate(run.test_data, load_best_model=False)["hit@5"]
    chance = 5 / 21
    assert found == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 3000))


# What cannot be drawn ---------------------------------------------------------------------------------------------


def with_one_who_knows_everything(folder):
    """The data set all: the user all has interacted with all 12 items."""
    pairs = [("all", f"i{item}") for item in range(12)]
    pairs += [(f"u{user}", f"i{item}") for user in range(5) for item in range(user, user + 7)]
    write_interactions(folder / "dataset", "all", pairs)
    return "all"


@pytest.mark.parametrize("mode", MODES)
def test_a_user_who_knows_every_item_is_named_before_training(working_folder, mode):
    with pytest.raises(DatasetError) as caught:
        sampled("EASE", with_one_who_knows_everything(working_folder), mode, train_neg_sample_args=None)
    check_one_line(caught, "user all", "all 12 items", "user_inter_num_interval", "mode full")


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_a_training_user_without_negatives_is_named_before_training(working_folder, model, distribution):
    name = with_one_who_knows_everything(working_folder)
    folder = working_folder / "dataset" / name
    header, *pairs = (folder / "all.inter").read_text().splitlines()
    for part, chosen in (("train", pairs), ("valid", pairs[-4:]), ("test", pairs[-2:])):
        (folder / f"all.{part}.inter").write_text("\n".join([header, *chosen]) + "\n")
    with pytest.raises(DatasetError) as caught:
        sampled(
            model,
            name,
            "full",
            benchmark_filename=["train", "valid", "test"],
            train_neg_sample_args={"distribution": distribution, "sample_num": 1},
        )
    check_one_line(caught, "user all", "all 12 items", model, "user_inter_num_interval")


@pytest.mark.parametrize("model", ["BPR", "EASE", "Pop", "ItemKNN", "MultiVAE", "SparseELSA"])
def test_a_user_who_knows_every_item_is_evaluated_in_full(working_folder, model):
    run = sampled(model, with_one_who_knows_everything(working_folder), "full")
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert 0 <= figures(run, run.test_data)["recall@5"] <= 1


@pytest.mark.parametrize("model", ["EASE", "Pop", "ELSA", "SparseELSA", "PrunedEASE", "UserKNN"])
def test_models_without_negatives_learn_from_a_user_who_has_every_item(working_folder, model):
    folder = working_folder / "dataset" / with_one_who_knows_everything(working_folder)
    header, *pairs = (folder / "all.inter").read_text().splitlines()
    for part, chosen in (("train", pairs[:-8]), ("valid", pairs[-8:-4]), ("test", pairs[-4:])):
        (folder / f"all.{part}.inter").write_text("\n".join([header, *chosen]) + "\n")
    run = sampled(
        model,
        "all",
        "full",
        benchmark_filename=["train", "valid", "test"],
        train_neg_sample_args={"distribution": "uniform", "sample_num": 1},
        k=4,
    )
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert 0 <= figures(run, run.test_data)["recall@5"] <= 1


@pytest.mark.parametrize("mode", ["uni0", "uni-1", "uni", "pop1.5", "unix5", "uni100 ", "Full"])
def test_a_mode_that_is_none_is_refused(random_dataset, mode):
    with pytest.raises(ValueError) as caught:
        make_config(random_dataset, eval_args={"mode": mode})
    check_one_line(caught, mode, "mode")


# Sequences --------------------------------------------------------------------------------------------------------


def histories(folder, n_users=30, n_items=40, length=12):
    """Users who go through items in the order of time."""
    random = np.random.default_rng(0)
    (folder / "dataset" / "steps").mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(n_users):
        lines += [
            f"u{user}\ti{item}\t{time}" for time, item in enumerate(random.choice(n_items, length, replace=False))
        ]
    (folder / "dataset" / "steps" / "steps.inter").write_text("\n".join(lines) + "\n")
    return "steps"


def sequential(folder, mode, split, **options):
    return prepare(
        "GRU4Rec",
        histories(folder),
        eval_args={"mode": mode, "split": split, "order": "TO", "group_by": "user"},
        load_col={"inter": ["user_id", "item_id", "timestamp"]},
        train_neg_sample_args=None,
        MAX_ITEM_LIST_LENGTH=20,
        topk=[1, 5],
        valid_metric="NDCG@5",
        metric_decimal_place=12,
        epochs=1,
        hidden_size=8,
        embedding_size=8,
        **options,
    )


@pytest.mark.parametrize("mode", MODES)
def test_sequences_have_the_same_candidates_in_each_pass(working_folder, mode):
    run = sequential(working_folder, mode, LAST)
    assert drawn(run.test_data) == drawn(run.test_data)


def test_each_target_of_a_sequence_is_ranked_after_its_own_history(working_folder):
    run = sequential(working_folder, "uni1000", {"RS": [0.6, 0.2, 0.2]}, metrics=["NDCG", "Recall"])
    found = figures(run, run.test_data)
    # With everything drawn this is the full ranking.
    run = sequential_again("full", run)
    assert found == pytest.approx(figures(run, run.test_data), abs=1e-6)


def sequential_again(mode, run):
    """The same data and model in another mode."""
    options = dict(run.config.external_config_dict)
    options["eval_args"] = {**options["eval_args"], "mode": mode}
    config = Config("GRU4Rec", "steps", config_dict=options)
    init_seed(config["seed"], config["reproducibility"])
    run.train_data, run.valid_data, run.test_data = data_preparation(config, create_dataset(config))
    run.trainer = get_trainer(config["MODEL_TYPE"], "GRU4Rec")(config, run.model)
    return run


# A second evaluation ----------------------------------------------------------------------------------------------

#: General recommenders beside those above, with what they need on a small data set.
OTHERS = {
    "ADMMSLIM": {},
    "AsymKNN": {},
    "CDAE": {"train_neg_sample_args": None},
    "DGCF": {"n_factors": 2},
    "DiffRec": {"train_neg_sample_args": None},
    "DMF": {},
    "ENMF": {"train_neg_sample_args": None},
    "FISM": {},
    "GCMC": {},
    "LightGCN": {},
    "LINE": {},
    "MacridVAE": {"train_neg_sample_args": None},
    "MultiDAE": {"train_neg_sample_args": None},
    "NAIS": {},
    "NCEPLRec": {},
    "NGCF": {},
    "PrunedEASE": {"k": 8},
    "RaCT": {"train_neg_sample_args": None},
    "RecVAE": {"train_neg_sample_args": None},
    "SGL": {},
    "SimpleX": {},
    "SLIMElastic": {},
    "SpectralCF": {},
    "UserKNN": {},
}


@pytest.mark.parametrize(
    "model",
    [
        *(*MODELS, "Random"),
        *(pytest.param(model, marks=pytest.mark.slow) for model in OTHERS),
    ],
)
def test_a_second_full_evaluation_gives_the_same_figure_whatever_the_batches(random_dataset, model):
    run = sampled(model, random_dataset, "full", **OTHERS.get(model, {}))
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    first = figures(run, run.test_data)
    assert figures(run, run.test_data) == first
    # Scores of other batches may differ in the last place, figures only where two scores are all but equal.
    run.test_data.batch_sampler.batch_size = 1
    assert figures(run, run.test_data) == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("model", ["Random", *(pytest.param(model, marks=pytest.mark.slow) for model in OTHERS)])
def test_a_second_evaluation_of_a_sample_gives_the_same_figure(random_dataset, model):
    run = sampled(model, random_dataset, "uni5", **OTHERS.get(model, {}))
    run.trainer.fit(run.train_data, run.valid_data, saved=False)
    assert figures(run, run.test_data) == figures(run, run.test_data)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["uni100", "pop100"])
def test_a_benchmark_on_a_sample_can_be_repeated(mode):
    found = []
    for batch_size in (4096, 10**6):
        config = {
            "eval_args": {"mode": mode},
            "eval_batch_size": batch_size,
            "metric_decimal_place": 6,
            "load_col": {"inter": ["user_id", "item_id"]},
        }
        run = prepare("Pop", "ml-100k", **config)
        run.trainer.fit(run.train_data, run.valid_data, saved=False)
        found += [figures(run, run.test_data), figures(run, run.test_data)]
    assert found == found[:1] * 4
