"""What a table says of the protocol is what was done; which items are masked in the test is a choice."""

import hashlib
import json
import os

import pytest
from conftest import SMALL, prepare, write_interactions
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.evaluation.protocol import DataCounts, describe_protocol, evaluated_users


def write_fixed(folder):
    """Three files: u1 trains on a, b, validates on c and is tested on d; u2 trains on b, d, and is tested on a."""
    (folder / "dataset" / "fixed").mkdir(parents=True)
    for part, pairs in (
        ("train", [("u1", "a"), ("u1", "b"), ("u2", "b"), ("u2", "d"), ("u2", "d"), ("u3", "e"), ("u4", "e")]),
        ("valid", [("u1", "c"), ("u2", "e")]),
        ("test", [("u1", "d"), ("u2", "a")]),
    ):
        lines = ["user_id:token\titem_id:token", *(f"{user}\t{item}" for user, item in pairs)]
        (folder / "dataset" / "fixed" / f"fixed.{part}.inter").write_text("\n".join(lines) + "\n")


FIXED = {"benchmark_filename": ["train", "valid", "test"], "topk": [2], "valid_metric": "MRR@2"}


def described(model, dataset, **options):
    config = Config(model, dataset, config_dict={**SMALL, **options})
    filtered = create_dataset(config)
    protocol = describe_protocol(config, DataCounts.of(filtered))
    return protocol, *data_preparation(config, filtered)


def masked_in_test(dataset, user, **options):
    """The tokens of the items that are not ranked for a user in the test."""
    run = prepare("Pop", dataset, **options)
    user_id = run.dataset.token2id("user_id", user)
    return {run.dataset.id2token("item_id", item) for item in run.test_data.uid2history_item[user_id].tolist()}


def test_fixed_files_are_named_with_their_checksums_and_counts(working_folder):
    write_fixed(working_folder)
    protocol, _, valid_data, test_data = described("Pop", "fixed", **FIXED)
    checksum = hashlib.sha256(open("dataset/fixed/fixed.train.inter", "rb").read()).hexdigest()[:12]
    assert f"fixed files fixed.train.inter (7 lines, SHA-256 {checksum}…), fixed.valid.inter (2 lines" in protocol
    assert "4 users, 5 items and 11 interactions are left; 1 of them repeat a pair of user and item" in protocol
    assert "each pair counts once in training" in protocol and "RS" not in protocol and "filter" not in protocol
    assert (evaluated_users(valid_data), evaluated_users(test_data)) == (2, 2)


def test_a_split_is_described_as_it_was_done_with_what_the_filters_left(checkerboard):
    protocol, *_ = described("Pop", checkerboard)
    assert protocol == (
        "each user's interactions in random order, split by ratio [0.8, 0.1, 0.1]; all items are ranked, but for the "
        "user's training items in the validation and training and validation items in the test; no filter; 60 users, "
        "40 items and 900 interactions are left; none of them repeats a pair of user and item"
    )
    held_out = {"eval_args": {"split": {"HU": {"test_users": 10}}}}
    protocol, _, _, test_data = described("Pop", checkerboard, **held_out)
    assert "held-out users, {'test_users': 10}" in protocol and "sees of a held-out user" in protocol
    assert evaluated_users(test_data) == 50
    protocol, *_ = described("Pop", checkerboard, item_inter_num_interval="[23,inf)", test_mask="train")
    assert "filters: item_inter_num_interval [23,inf)" in protocol
    assert "but for the user's training items in the validation and training items in the test" in protocol


def test_validation_items_are_ranked_in_the_test_where_the_protocol_says_so(working_folder):
    write_fixed(working_folder)
    assert masked_in_test("fixed", "u1", **FIXED) == {"a", "b", "c"}
    assert masked_in_test("fixed", "u1", **FIXED, test_mask="train_valid") == {"a", "b", "c"}
    assert masked_in_test("fixed", "u1", **FIXED, test_mask="train") == {"a", "b"}
    assert masked_in_test("fixed", "u2", **FIXED, test_mask="train") == {"b", "d"}


def test_the_mask_changes_the_figure_as_it_should(working_folder):
    write_fixed(working_folder)
    options = {**FIXED, "topk": [1], "valid_metric": "MRR@1", "metrics": ["Hit", "MRR"]}
    hits = {}
    for mask in ("train_valid", "train"):
        run = prepare("Pop", "fixed", **options, test_mask=mask)
        run.trainer.fit(run.train_data, run.valid_data)
        hits[mask] = run.trainer.evaluate(run.test_data)["hit@1"]
    # Of training users e has two, a and d one each, c none. u1 gets e before d. u2 gets a, unless e, the validation
    # item, is ranked before it.
    assert hits == {"train_valid": 0.5, "train": 0.0}


@pytest.mark.parametrize("mask", ["valid", "none", 1])
def test_unknown_masks_are_refused(mask):
    with pytest.raises(OptionError, match=f"test_mask is {mask!r}, but must be one of train_valid, train"):
        Config("Pop", "ml-100k", config_dict={"test_mask": mask})


def test_the_mask_of_held_out_users_is_what_the_model_sees():
    options = {"test_mask": "train", "eval_args": {"split": {"HU": {"test_users": 10}}}}
    with pytest.raises(OptionError, match="test_mask is train, but must be train_valid with split HU"):
        Config("Pop", "ml-100k", config_dict=options)


def test_a_leaderboard_states_the_protocol_that_was_used(working_folder, capsys):
    random_pairs = [(f"u{user}", f"i{(user * 7 + 3 * item) % 30}") for user in range(40) for item in range(8)]
    for part, share in (("train", random_pairs[:240]), ("valid", random_pairs[240:280]), ("test", random_pairs[280:])):
        write_interactions(working_folder / "scratch", part, share)
        (working_folder / "dataset" / "mine").mkdir(parents=True, exist_ok=True)
        os.rename(f"scratch/{part}/{part}.inter", f"dataset/mine/mine.{part}.inter")
    board = {
        "datasets": [{"name": "mine", "config": {"benchmark_filename": ["train", "valid", "test"]}}],
        "models": {"Popularity": {"model": "Pop"}},
    }
    (working_folder / "board.yaml").write_text(json.dumps(board))
    main(["leaderboard", "board.yaml", "--output", "out"])
    printed = capsys.readouterr().out
    assert "Protocol: fixed files mine.train.inter (240 lines" in printed
    assert "RS" not in printed and "0.8" not in printed
    assert "Users evaluated on test data" in printed


def test_what_becomes_of_repeated_pairs_is_what_the_training_does(working_folder):
    write_fixed(working_folder)
    (working_folder / "dataset" / "fixed" / "fixed.link").write_text("item_id:token\tentity_id:token\na\te1\nb\te2\n")
    triples = "head_id:token\trelation_id:token\ttail_id:token\ne1\tlike\te2\n"
    (working_folder / "dataset" / "fixed" / "fixed.kg").write_text(triples)
    protocol, *_ = described("CKE", "fixed", **FIXED)
    assert "1 of them repeat a pair of user and item, and each pair counts once in training" in protocol
