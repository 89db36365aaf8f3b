"""Recommenders that learn, on planted data: users and items form blocks, and users like items of their block alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import LINE
from recbole.quick_start import load_data_and_model
from torch.nn import functional

from audit.recommenders import fit, ids, matrix_of, scores_at_once, scores_one_by_one, write_parts

BLOCKS, USERS, ITEMS = 4, 20, 12  # users and items of a block

#: Options of models that learn from whole users, of whom there are few.
BY_USER = {"train_batch_size": 16}

SLOWLY = {"learning_rate": 0.003}

#: For each model its options, the least AUC of unseen items of the own block against those of the others, and whether
#: it takes so long that it is left to the slow part. An AUC of .5 is chance, and Pop's.
MODELS = {
    "BPR": ({}, 0.98, False),
    "NeuMF": ({}, 0.98, False),
    "DMF": ({"user_hidden_size_list": [64], "item_hidden_size_list": [64], "epochs": 60, **SLOWLY}, 0.95, False),
    "FISM": ({}, 0.98, False),
    "NAIS": ({}, 0.98, True),
    "NNCF": ({"epochs": 20, **SLOWLY}, 0.95, True),
    "ConvNCF": ({"train_batch_size": 16, "epochs": 15, **SLOWLY}, 0.75, True),
    "SpectralCF": ({}, 0.95, False),
    "GCMC": ({}, 0.98, False),
    "NGCF": ({}, 0.98, True),
    "LightGCN": ({}, 0.98, False),
    "DGCF": ({"n_factors": 2}, 0.98, True),
    "SGL": ({}, 0.98, True),
    "SimpleX": ({}, 0.95, False),
    "LINE": ({}, 0.96, False),
    "CDAE": (BY_USER, 0.95, False),
    "MultiDAE": (BY_USER, 0.95, False),
    "MultiVAE": (BY_USER, 0.95, False),
    "MacridVAE": (BY_USER, 0.9, True),
    "RecVAE": ({**BY_USER, "hidden_dimension": 64, "latent_dimension": 16}, 0.95, True),
    "RaCT": (BY_USER, 0.93, True),
    "ENMF": (BY_USER, 0.9, False),
    "DiffRec": ({**BY_USER, "epochs": 100}, 0.9, True),
    "LDiffRec": ({**BY_USER, "epochs": 60}, 0.95, True),
    "ELSA": ({}, 0.98, False),
    "SparseELSA": ({"k": 8}, 0.95, False),
    "ELSASAE": ({"k": 4, "code_size": 16, "autoencoder_epochs": 50}, 0.9, False),
    "FineTunedELSASAE": ({"k": 8, "code_size": 64, "autoencoder_epochs": 50, "dense_epochs": 20}, 0.95, False),
}

#: General recommenders of RecBole that do not run, or not with all of their options, and why.
DO_NOT_RUN = {
    "NCL": ({}, ModuleNotFoundError, "needs faiss, which is not installed here (extra ncl)"),
    "NNCF": ({"neigh_info_method": "louvain"}, ModuleNotFoundError, "needs python-louvain, which is not installed"),
    "LDiffRec": ({"n_cate": 2}, FileNotFoundError, "needs the data set's item_emb.npy, and kmeans_pytorch"),
    "RaCT": ({"train_stage": "finetune"}, FileNotFoundError, "needs pre_model_path, an earlier stage's checkpoint"),
    "ConvNCF": ({"embedding_size": 32}, RuntimeError, "its kernels and strides fit 64 factors only"),
}

COMMON = {"embedding_size": 64, "epochs": 30, "train_batch_size": 64, "learning_rate": 0.01}


def planted_parts():
    """Users with 3 to 8 training items of the 12 of their block, two items held out, and a user without training."""
    random = np.random.default_rng(0)
    train, valid, test = [], [], [(BLOCKS * USERS, 0)]
    for user in range(BLOCKS * USERS):
        items = (user // USERS * ITEMS + random.permutation(ITEMS)).tolist()
        n_train = 3 + user % 6
        train += [(user, item) for item in items[:n_train]]
        valid.append((user, items[n_train]))
        test.append((user, items[n_train + 1]))
    return train, valid, test


def write_planted(name="planted", repeats=False):
    train, valid, test = planted_parts()
    if repeats:
        train = [pair for pair in train for _ in range(1 + pair[0] % 3)] + train[::5]
    return write_parts(name, train, valid, test)


def models():
    """Parameters, one a model."""
    return [pytest.param(name, marks=pytest.mark.slow if slow else ()) for name, (_, _, slow) in MODELS.items()]


@pytest.fixture(scope="module", params=models())
def trained(request, tmp_path_factory):
    """A model that was trained on planted data: its run and its scores."""
    folder = tmp_path_factory.mktemp(request.param)
    options, _, _ = MODELS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        places = {"data_path": str(folder / "dataset"), "checkpoint_dir": str(folder / "saved")}
        run = fit(request.param, write_planted(), **{**COMMON, **places, **options})
        one_by_one, at_once = scores_one_by_one(run), scores_at_once(run)
    scores = one_by_one if at_once is None else at_once
    return SimpleNamespace(name=request.param, run=run, scores=scores, at_once=at_once, one_by_one=one_by_one)


def planted_auc(run, scores):
    """How often an unseen item of the own block is above one of another block, for all users that have a training."""
    users = ids(run, [(user, 0) for user in range(BLOCKS * USERS)])[:, 0]
    items = ids(run, [(0, item) for item in range(BLOCKS * ITEMS)])[:, 1]
    unseen = matrix_of(run, planted_parts()[0])[users][:, items] == 0
    own = np.repeat(np.repeat(np.eye(BLOCKS, dtype=bool), USERS, axis=0), ITEMS, axis=1)
    areas = []
    for row, mine, new in zip(scores[users - 1][:, items], own, unseen):
        differences = row[mine & new][:, None] - row[~mine]
        areas.append((differences > 0).mean() + (differences == 0).mean() / 2)
    return float(np.mean(areas))


def test_the_planted_answer_is_learnt(trained):
    assert planted_auc(trained.run, trained.scores) >= MODELS[trained.name][1]


def test_scores_are_numbers_even_for_a_user_without_training(trained):
    assert np.isfinite(trained.scores).all() and np.isfinite(trained.one_by_one).all()


def test_both_kinds_of_scores_agree(trained):
    if trained.at_once is None:
        pytest.skip("has one kind of scores only")
    np.testing.assert_allclose(trained.one_by_one, trained.at_once, rtol=1e-4, atol=1e-5)


def test_scores_are_the_same_a_second_time_and_in_other_batches(trained):
    if trained.at_once is None:
        np.testing.assert_array_equal(scores_one_by_one(trained.run), trained.one_by_one)
        return
    np.testing.assert_array_equal(scores_at_once(trained.run), trained.at_once)
    np.testing.assert_allclose(scores_at_once(trained.run, batch_size=7), trained.at_once, rtol=1e-4, atol=1e-5)


def test_a_second_evaluation_and_a_loaded_checkpoint_give_the_same_figures(trained):
    run = trained.run
    assert run.trainer.evaluate(run.test_data) == run.figures
    torch.manual_seed(0)
    _, loaded, _, _, _, test_data = load_data_and_model(run.trainer.saved_model_file)
    before, run.trainer.model = run.trainer.model, loaded
    try:
        assert run.trainer.evaluate(test_data, load_best_model=False) == run.figures
    finally:
        run.trainer.model = before


@pytest.mark.parametrize("model", models())
def test_repeated_lines_change_nothing(model):
    fewest = {"SparseELSA": 5, "FineTunedELSASAE": 21}  # that its pruning schedule takes
    options = {**COMMON, **MODELS[model][0], "epochs": fewest.get(model, 2)}
    once, again = (fit(model, write_planted(str(repeats), repeats), **options) for repeats in (False, True))
    first, second = (scores_one_by_one(run) for run in (once, again))
    np.testing.assert_array_equal(first, second)
    assert again.figures == once.figures


def test_a_pair_that_is_repeated_counts_once_in_the_interaction_matrix():
    run = fit("LR", write_timed(repeats=3), **REPEATED, **LABELED)
    for form in ("coo", "csr"):
        matrix = run.train_data.dataset.inter_matrix(form=form)
        assert matrix.format == form and set(matrix.data) == {1} and matrix.nnz == 3 * BLOCKS * USERS
    ratings = run.train_data.dataset.inter_matrix(form="csr", value_field="rating")
    assert ratings.sum() == sum(run.train_data.dataset.inter_feat["rating"])


REPEATED = {"epochs": 1, "load_col": None, "LABEL_FIELD": "label"}
LABELED = {"metrics": ["RMSE"], "valid_metric": "RMSE", "eval_args": {"mode": "labeled"}}
IN_TIME = {
    "benchmark_filename": None,
    "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}},
    "train_neg_sample_args": None,
}


def write_timed(repeats):
    """Three training lines a user, each so many times, with a time, a rating and a label; one line held out."""
    folder = Path("dataset/timed")
    folder.mkdir(parents=True)
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tlabel:float"
    whole = [header]
    for part, items, times in (("train", (0, 1, 2), repeats), ("valid", (3,), 1), ("test", (4,), 1)):
        lines = [
            f"u{user}\ti{user // USERS * ITEMS + item}\t{1 + (user + item) % 5}\t{10 * item + time}\t{item % 2}"
            for user in range(BLOCKS * USERS)
            for item in items
            for time in range(times)
        ]
        (folder / f"timed.{part}.inter").write_text("\n".join([header, *lines]) + "\n")
        whole += lines
    (folder / "timed.inter").write_text("\n".join(whole) + "\n")
    return "timed"


@pytest.mark.parametrize(
    "model, options",
    [
        ("GRU4Rec", IN_TIME),
        ("LR", LABELED),
        ("BPR", LABELED),
        ("NeuMF", {"train_neg_sample_args": None}),
    ],
)
def test_repeated_lines_stay_where_they_mean_something(model, options):
    """For sequences, for contexts, and where ratings or labels are what is learnt."""
    run = fit(model, write_timed(repeats=3), **{**REPEATED, **options})
    dataset = run.train_data.dataset
    n_lines = 9 * BLOCKS * USERS
    if model == "GRU4Rec":
        # The first line of a user has nothing before it.
        assert len(dataset.inter_feat) == n_lines - BLOCKS * USERS
        assert dataset.inter_feat["item_length"].max() == 8
    else:
        assert len(dataset.inter_feat) == n_lines


@pytest.mark.parametrize("model", DO_NOT_RUN)
def test_what_does_not_run_says_why(model):
    options, error, _ = DO_NOT_RUN[model]
    with pytest.raises(error):
        fit(model, write_planted(), **{**COMMON, "epochs": 1, **options})


# Options that are not the default

VARIANTS = [
    ("FISM", {"split_to": 3, "alpha": 0.5, "reg_weights": [0, 0]}, 0.98),
    ("NAIS", {"algorithm": "concat", "alpha": 0.5, "split_to": 3}, 0.95),
    ("NNCF", {"neigh_info_method": "knn", "epochs": 20, **SLOWLY}, 0.95),
    ("SGL", {"type": "ND"}, 0.98),
    ("SGL", {"type": "RW"}, 0.98),
    ("SimpleX", {"aggregator": "user_attention"}, 0.95),
    ("SimpleX", {"aggregator": "self_attention"}, 0.95),
    ("SimpleX", {"history_len": 3}, 0.9),
    ("CDAE", {"loss_type": "MSE", **BY_USER}, 0.95),
    ("GCMC", {"sparse_feature": False}, 0.98),
    ("GCMC", {"accum": "sum"}, 0.98),
    ("NGCF", {"node_dropout": 0.2}, 0.95),
    ("LINE", {"order": 1}, 0.95),
    ("DiffRec", {"noise_schedule": "binomial", **BY_USER}, 0.6),
    ("DiffRec", {"noise_scale": 0.0, **BY_USER}, 0.85),
    ("DiffRec", {"norm": True, **BY_USER}, 0.88),
    ("DiffRec", {"sampling_steps": 3, **BY_USER}, 0.85),
    ("DiffRec", {"sampling_noise": True, **BY_USER}, 0.85),
    ("LDiffRec", {"out_dims": [30], **BY_USER}, 0.85),
    ("LDiffRec", {"reparam": False, **BY_USER}, 0.95),
    ("MacridVAE", {"nogb": True, **BY_USER}, 0.9),
    ("NeuMF", {"mf_train": False}, 0.95),
    ("NeuMF", {"mlp_train": False}, 0.95),
    ("DGCF", {"n_factors": 1}, 0.98),
]


@pytest.mark.slow
@pytest.mark.parametrize("model, options, least", VARIANTS, ids=str)
def test_other_options_learn_the_planted_answer_too(model, options, least):
    run = fit(model, write_planted(), **{**COMMON, **options})
    scores = scores_one_by_one(run) if scores_at_once(run) is None else scores_at_once(run)
    assert planted_auc(run, scores) >= least


@pytest.mark.slow
@pytest.mark.parametrize("model, options, least", VARIANTS, ids=str)
def test_other_options_give_scores_that_are_the_same_a_second_time(model, options, least):
    run = fit(model, write_planted(), **{**COMMON, **options, "epochs": 2})
    first, one_by_one = scores_at_once(run), scores_one_by_one(run)
    assert np.isfinite(one_by_one).all()
    np.testing.assert_array_equal(scores_one_by_one(run), one_by_one)
    if first is not None:
        np.testing.assert_allclose(scores_at_once(run, batch_size=7), first, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one_by_one, first, rtol=1e-4, atol=1e-5)


# What they learn from, and what they minimise


@pytest.fixture
def untrained():
    """Make a model that has seen one epoch, and the 0/1 matrix of its training part."""

    def make(model, **options):
        run = fit(model, write_planted(), **{**COMMON, "epochs": 1, **options})
        return run, matrix_of(run, planted_parts()[0])

    return make


def normalised(matrix, power):
    """The adjacency of users and items as one graph, each edge weighed by its degrees to a power, on both sides."""
    graph = np.block([[np.zeros((len(matrix),) * 2), matrix], [matrix.T, np.zeros((matrix.shape[1],) * 2)]])
    degrees = np.maximum(graph.sum(axis=1), 1e-12)
    left, right = (degrees**exponent for exponent in power)
    return left[:, None] * graph * right


@pytest.mark.parametrize("model", ["LightGCN", "NGCF", "GCMC", "SGL", "SpectralCF"])
def test_the_graph_is_that_of_the_training_part(model, untrained):
    run, matrix = untrained(model)
    name = {"GCMC": "Graph", "SGL": "train_graph", "SpectralCF": "A_hat"}.get(model, "norm_adj_matrix")
    found = getattr(run.model, name).to_dense().double().numpy()
    if model == "SpectralCF":
        expected = 2 * np.eye(len(found)) - normalised(matrix, (-1, 0))
    else:
        expected = normalised(matrix, (-0.5, -0.5))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_scores_of_light_graph_convolution_by_hand(untrained):
    run, matrix = untrained("LightGCN", n_layers=2)
    model, graph = run.model, normalised(matrix, (-0.5, -0.5))
    first = torch.cat([model.user_embedding.weight, model.item_embedding.weight]).detach().double().numpy()
    mean = (first + graph @ first + graph @ graph @ first) / 3
    expected = mean[1 : len(matrix)] @ mean[len(matrix) :].T
    np.testing.assert_allclose(scores_at_once(run), expected, rtol=0, atol=1e-5)


WHOLE_USERS = ["CDAE", "MultiDAE", "MultiVAE", "MacridVAE", "RecVAE", "RaCT", "DiffRec", "LDiffRec"]


@pytest.mark.parametrize("model", WHOLE_USERS)
def test_whole_users_are_the_rows_of_the_training_matrix(model, untrained):
    run, matrix = untrained(model, **BY_USER)
    rows = run.model.get_rating_matrix(torch.arange(len(matrix)))
    np.testing.assert_array_equal(rows.numpy(), matrix)


def test_the_loss_over_all_items_is_that_of_the_whole_matrix(untrained):
    """ENMF, Chen et al., TOIS 2020: squared errors over all items, unobserved ones weighed less, up to a constant."""
    run, matrix = untrained("ENMF", dropout_prob=0.0, negative_weight=0.3, **BY_USER)
    users = torch.arange(1, len(matrix))
    found = run.model.calculate_loss(Interaction({"user_id": users})).item()
    scores, liked = scores_at_once(run)[:, 1:], matrix[1:, 1:]
    weights = np.where(liked > 0, 1.0, 0.3)
    assert found == pytest.approx((weights * (liked - scores) ** 2).sum() - liked.sum(), rel=1e-4)


def test_the_loss_of_similarities_is_the_cross_entropy_of_their_scores(untrained):
    """FISM, Kabbur et al., KDD 2013, with the loss that RecBole states."""
    run, matrix = untrained("FISM", reg_weights=[0, 0])
    users, items = (torch.from_numpy(places) for places in np.nonzero(np.ones_like(matrix[1:])))
    labels = torch.from_numpy(matrix[1:].ravel()).float()
    found = run.model.calculate_loss(Interaction({"user_id": users + 1, "item_id": items, "label": labels})).item()
    model = run.model
    source, target = (part.weight.detach() for part in (model.item_src_embedding, model.item_dst_embedding))
    rows = torch.from_numpy(matrix).float()
    logits = rows @ source @ target.T + model.user_bias.detach()[:, None] + model.item_bias.detach()
    expected = functional.binary_cross_entropy_with_logits(logits[1:].ravel(), labels).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_an_item_that_everybody_has_does_not_stop_the_training(monkeypatch):
    """LINE draws users who do not have an item, and here there is an item without such users."""
    draw, calls = LINE.random_num, []

    def counting(self, num):
        calls.append(num)
        assert len(calls) < 10000, "draws for ever"
        return draw(self, num)

    monkeypatch.setattr(LINE, "random_num", counting)
    train, valid, test = planted_parts()
    train = [pair for pair in train if pair[1] != 0] + [(user, 0) for user in range(BLOCKS * USERS + 1)]
    run = fit("LINE", write_parts("everybody", train, valid, test), **{**COMMON, "epochs": 2})
    assert np.isfinite(scores_at_once(run)).all()


# Models with a knowledge graph, in which the items of a block have an entity in common

KNOWLEDGE = {"CFKG": 0.95, "CKE": 0.95, "KGCN": 0.95, "KGNNLS": 0.95, "KTUP": 0.7, "MKR": 0.9, "RippleNet": 0.95}

#: Those that do not run here: KGAT needs dgl, KGIN and MCCLK need torch_scatter.
GRAPH_LIBRARIES = ["KGAT", "KGIN", "MCCLK"]


def write_planted_knowledge(name, repeats=False):
    write_planted(name, repeats)
    items = range(BLOCKS * ITEMS)
    triples = [f"e{item}\tr{item % 2}\tblock{item // ITEMS}" for item in items]
    links = [f"i{item}\te{item}" for item in items]
    for ending, lines in (
        ("kg", ["head_id:token\trelation_id:token\ttail_id:token", *triples]),
        ("link", ["item_id:token\tentity_id:token", *links]),
    ):
        Path(f"dataset/{name}/{name}.{ending}").write_text("\n".join(lines) + "\n")
    return name


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.slow if name in ("MKR", "RippleNet") else ()) for name in KNOWLEDGE]
)
def test_repeated_lines_change_nothing_with_a_knowledge_graph(model):
    options = {**COMMON, "epochs": 2, "load_col": None}
    once, again = (fit(model, write_planted_knowledge(str(repeats), repeats), **options) for repeats in (False, True))
    np.testing.assert_array_equal(scores_one_by_one(again), scores_one_by_one(once))
    assert once.trainer.evaluate(once.test_data) == once.figures == again.figures


@pytest.mark.slow
@pytest.mark.parametrize("model", KNOWLEDGE)
def test_the_planted_answer_is_learnt_with_a_knowledge_graph(model):
    run = fit(model, write_planted_knowledge("graph"), **COMMON, load_col=None)
    scores, one_by_one = scores_at_once(run), scores_one_by_one(run)
    assert np.isfinite(one_by_one).all() and planted_auc(run, one_by_one) >= KNOWLEDGE[model]
    if scores is not None:
        np.testing.assert_allclose(one_by_one, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", GRAPH_LIBRARIES)
def test_models_that_need_graph_libraries_say_so(model):
    with pytest.raises(ModuleNotFoundError):
        fit(model, write_planted_knowledge("graph"), **{**COMMON, "epochs": 1, "load_col": None})


def test_all_embeddings_of_ktup_start_with_length_one():
    run = fit("KTUP", write_planted_knowledge("graph"), **{**COMMON, "epochs": 1, "load_col": None})
    model = type(run.model)(run.config, run.train_data._dataset)
    for embedding in (model.user_embedding, model.item_embedding, model.entity_embedding, model.relation_embedding):
        torch.testing.assert_close(embedding.weight.norm(dim=1), torch.ones(len(embedding.weight)))
