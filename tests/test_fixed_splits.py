"""Fixed splits: found by their files, validation data held out where there are none, trained again on all data."""

import csv
import json
import os

import numpy as np
import pytest
import yaml
from conftest import SMALL, check_one_line
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole

import recbole_sparse_elsa
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.evaluation.protocol import DataCounts, describe_protocol
from recbole_sparse_elsa.leaderboard.specification import read_specification
from recbole_sparse_elsa.plugin.features.fixed_splits import drawn

QUIET = {"show_progress": False, "state": "WARNING", "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5"}


def write_part(name, part, pairs):
    os.makedirs(f"dataset/{name}", exist_ok=True)
    with open(f"dataset/{name}/{name}.{part}.inter", "w") as file:
        file.write("user_id:token\titem_id:token\n" + "".join(f"{user}\t{item}\n" for user, item in pairs))


@pytest.fixture
def fixed(working_folder):
    """40 users x 30 items: even users like even items; a fifth of the pairs are test data."""
    random = np.random.default_rng(1)
    pairs = [(f"u{u}", f"i{i}") for u in range(40) for i in range(u % 2, 30, 2) if (i // 2 + u // 2) % 4]
    is_test = random.random(len(pairs)) < 0.2
    write_part("fixed", "train", [pair for pair, late in zip(pairs, is_test) if not late])
    write_part("fixed", "test", [pair for pair, late in zip(pairs, is_test) if late])
    return "fixed"


def parts_of(config):
    """The pairs of each part of the data, and of each user the items that are masked in the test."""
    train, valid, test = data_preparation(config, create_dataset(config))
    users, items = (train._dataset.field2id_token[field] for field in ("user_id", "item_id"))
    pairs = [
        [(users[u], items[i]) for u, i in zip(*(part._dataset.inter_feat[f].tolist() for f in ("user_id", "item_id")))]
        for part in (train, valid, test)
    ]
    masked = {users[user]: {items[item] for item in test.uid2history_item[user].tolist()} for user in test.uid_list}
    return pairs, masked


def read(part):
    with open(f"dataset/fixed/fixed.{part}.inter") as file:
        return [tuple(line) for line in csv.reader(file, delimiter="\t")][1:]


@given(
    lines=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=60),
    share=st.sampled_from([0, 0.1, 0.29, 0.5, 0.9]),
    seed=st.integers(0, 3),
)
def test_of_each_user_the_share_is_held_out_but_not_all(lines, share, seed):
    users, items = (np.array([line[i] for line in lines], dtype=int) for i in (0, 1))
    held_out = drawn(users, items, share, seed)
    for user in set(users.tolist()):
        pairs = {item for of, item in lines if of == user}
        taken = {item for (of, item), is_held in zip(lines, held_out) if of == user and is_held}
        exact = int(len(pairs) * round(share * 100)) // 100
        assert len(taken) == (0 if share == 0 or len(pairs) == 1 else max(exact, 1))
        # Lines of one pair stay together.
        assert not taken & {item for (of, item), is_held in zip(lines, held_out) if of == user and not is_held}
    assert (held_out == drawn(users, items, share, seed)).all()


def test_two_files_are_recognised_and_validation_data_held_out_by_seed(fixed):
    (train, valid, test), masked = parts_of(Config("EASE", fixed, config_dict=dict(QUIET)))
    assert sorted(train + valid) == sorted(read("train")) and sorted(test) == sorted(read("test"))
    assert {user for user, _ in valid} == {user for user, _ in train}
    # In the end all of a user's training items are trained on, so all are masked.
    for user, items in masked.items():
        assert items == {item for of, item in read("train") if of == user}
    (_, again, _), _ = parts_of(Config("EASE", fixed, config_dict=dict(QUIET)))
    (_, other, _), _ = parts_of(Config("EASE", fixed, config_dict={**QUIET, "seed": 7}))
    assert valid == again and valid != other
    (_, _, _), masked_less = parts_of(Config("EASE", fixed, config_dict={**QUIET, "test_mask": "train"}))
    assert masked_less == masked


def test_three_files_are_recognised_and_nothing_is_held_out(fixed):
    write_part(fixed, "valid", [("u0", "i28"), ("u1", "i29")])
    config = Config("EASE", fixed, config_dict=dict(QUIET))
    (train, valid, _), _ = parts_of(config)
    assert train == read("train") and valid == [("u0", "i28"), ("u1", "i29")]
    assert config["benchmark_filename"] == ["train", "valid", "test"] and config["valid_share"] is None


def test_a_data_set_to_split_is_split(fixed):
    os.rename("dataset/fixed/fixed.train.inter", "dataset/fixed/fixed.inter")
    assert Config("EASE", fixed, config_dict=dict(QUIET))["benchmark_filename"] is None


def test_another_split_of_fixed_files_is_refused(fixed):
    with pytest.raises(DatasetError) as caught:
        Config("EASE", fixed, config_dict={**QUIET, "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}}})
    check_one_line(caught, "fixed.inter", "fixed.train.inter", "leave split out of eval_args")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"valid_share": 1}, "valid_share is 1, but must be a finite number at least 0 and below 1"),
        ({"valid_share": "0.1x"}, "valid_share is '0.1x', but must be"),
        ({"valid_share": 0.1, "benchmark_filename": ["train", "test", "more"]}, "allowed only with a fixed split"),
        ({"refit_epochs": 3}, "refit_epochs is 3, but is allowed only with valid_share: 0"),
        ({"refit_epochs": 0, "valid_share": 0}, "refit_epochs is 0, but must be a whole number of at least 1"),
        ({"eval_step": 0}, "eval_step is 0, but must be at least 1 with valid_share 0.1"),
    ],
)
def test_shares_that_cannot_be_are_refused(fixed, options, message):
    write_part(fixed, "more", [("u0", "i0")])
    with pytest.raises(OptionError) as caught:
        Config("BPR", fixed, config_dict={**QUIET, **options})
    check_one_line(caught, message)


SPARSE = {**SMALL, **QUIET, "k": 4, "stage_epochs": 1, "epochs": 8, "eval_step": 2, "stopping_step": 1}


@pytest.mark.parametrize(
    "model, options",
    [
        ("EASE", QUIET),
        ("SparseSLIM", {**QUIET, "k": 8}),
        ("BPR", {**QUIET, "epochs": 6, "stopping_step": 1, "embedding_size": 8, "learning_rate": 0.05}),
        ("MultiVAE", {**QUIET, "epochs": 3}),
        ("SparseELSA", SPARSE),
        ("ELSASAE", {**SMALL, **QUIET, "k": 4, "code_size": 32, "epochs": 4, "autoencoder_epochs": 2}),
    ],
)
def test_the_tested_model_is_the_one_trained_on_all_data_to_the_chosen_epoch(fixed, model, options):
    result = run_recbole(model, fixed, config_dict=dict(options))
    config, *_ = load_data_and_model(result.saved_model_file)
    epochs = config["refit_epochs"]
    assert config["valid_share"] == 0 and 1 <= epochs <= (options.get("epochs") or 1)
    assert result["best_valid_result"] is not None
    # The same from the beginning, by a run that holds nothing out and ends there.
    alone = run_recbole(model, fixed, config_dict={**options, "valid_share": 0, "refit_epochs": epochs})
    assert alone["test_result"] == result["test_result"]
    held_out = run_recbole(model, fixed, config_dict={**options, "valid_share": 0.5})
    assert held_out["best_valid_result"] != result["best_valid_result"]


def test_a_loaded_model_has_all_training_data(fixed):
    result = run_recbole("SparseELSA", fixed, config_dict=dict(SPARSE))
    saved = recbole_sparse_elsa.load(result.saved_model_file)
    assert len(saved.data.train_data._dataset) == len(read("train")) and len(saved.data.valid_data._dataset) == 0
    assert len(saved.index.recommend(["i2", "i4"], 3).items) == 3


def test_the_epoch_that_is_chosen_is_the_best_of_the_validated_run(fixed, monkeypatch):
    from recbole.trainer import Trainer

    scores, trained = iter([0.1, 0.5, 0.3, 0.2, 0.1]), []
    monkeypatch.setattr(Trainer, "_valid_epoch", lambda self, *args, **kwargs: (next(scores), {"ndcg@5": 0}))
    train_epoch = Trainer._train_epoch

    def noted(self, train_data, epoch_idx, *args, **kwargs):
        trained.append(epoch_idx)
        return train_epoch(self, train_data, epoch_idx, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_train_epoch", noted)
    run_recbole("BPR", fixed, config_dict={**QUIET, "epochs": 20, "eval_step": 2, "stopping_step": 1})
    # Validated after the epochs 1, 3 (the best), 5 and 7, where it stops early.
    assert trained == [*range(8), *range(4)]


def write_leaderboard(**changes):
    content = {
        "datasets": [{"name": "fixed", "split": "fixed"}],
        "options": {"metrics": ["Recall", "F1", "F1OfMeans"], "topk": [5], "valid_metric": "Recall@5"},
        "models": {"EASE": {"model": "EASE"}},
        **changes,
    }
    with open("leaderboard.yaml", "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return "leaderboard.yaml"


def test_a_leaderboard_names_a_fixed_split_in_one_line_and_states_what_was_done(fixed):
    main(["leaderboard", write_leaderboard(), "--output", "results"])
    with open("results/results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tested = [row for row in rows if row["phase"] == "test"]
    assert [row["metric"] for row in tested] == ["recall@5", "f1@5", "f1ofmeans@5"]
    for row in rows:
        assert row["refit_epochs"] == "1" and json.loads(row["config"])["valid_share"] == 0.1
    with open("results/tables.md", encoding="utf-8") as file:
        table = " ".join(file.read().split())
    assert "fixed.train.inter" in table and "fixed.valid.inter" not in table
    assert "10 % of each user's training items (at least one of two) are held out, by seed" in table
    assert "trained again on all training items" in table
    assert "all items are ranked, but for the user's training items" in table
    (log,) = (os.path.join(folder, "log.txt") for folder, _, files in os.walk("results/cells") if "log.txt" in files)
    with open(log, encoding="utf-8") as file:
        assert f"Training again on all {len(read('train')):,} training interactions" in file.read()


@pytest.mark.parametrize(
    "dataset, message",
    [
        ({"split": "RS"}, "datasets[0].split is 'RS', but must be fixed"),
        ({"split": "fixed", "config": {"benchmark_filename": ["train", "test"]}}, "only one of them is allowed"),
        ({"name": "nowhere", "split": "fixed"}, "does not have nowhere.train.inter and nowhere.test.inter"),
    ],
)
def test_a_split_that_is_not_there_is_refused(fixed, dataset, message):
    with pytest.raises((OptionError, DatasetError)) as caught:
        read_specification(write_leaderboard(datasets=[{"name": "fixed", **dataset}]))
    check_one_line(caught, message)


def test_a_search_trains_once_and_on_what_is_not_held_out(fixed, monkeypatch):
    from recbole_sparse_elsa.plugin.features import fixed_splits
    from recbole_sparse_elsa.search import search

    monkeypatch.setattr(fixed_splits, "_fit_twice", lambda *args, **kwargs: pytest.fail("trained again"))
    with open("space.yaml", "w") as file:
        file.write("reg_weight: {loguniform: [1, 100]}\n")
    search(write_leaderboard(), "EASE", "space.yaml", 2, "found")
    with open("found/trials.csv", encoding="utf-8") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["complete"] * 2


def test_nothing_is_chosen_where_nothing_is_held_out(fixed):
    config = Config("EASE", fixed, config_dict={**QUIET, "valid_share": 0})
    said = describe_protocol(config, DataCounts.of(create_dataset(config)))
    assert "nothing is chosen on validation data, and all training items are trained on" in said
    result = run_recbole("EASE", fixed, config_dict={**QUIET, "valid_share": 0})
    assert result["best_valid_result"] is None and result["test_result"]["ndcg@5"] > 0
