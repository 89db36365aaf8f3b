"""Recommenders that are trained with gradients, and do not do what they are said to."""

import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from recbole_sparse_elsa.plugin.patching import names_in, replaces, source_of

# FISM and NAIS


@replaces(
    "recbole.model.general_recommender.fism.FISM.inter_forward",
    parameters="self user item",
    until="RecBole's FISM gives its loss logits",
    probe=lambda forward: "sigmoid" in names_in(forward),
    kind="repair",
)
def give_the_loss_logits(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let FISM's loss take the sigmoid once.

    Its scores go through a sigmoid before they reach a loss that takes a sigmoid itself: with RecBole's own options it
    learns hardly more than popularity.
    """

    def inter_forward(self, user, item):
        mask, n_items = self.mask_mat[user], self.history_lens[user].clamp(min=1).float()
        history = self.item_src_embedding(self.history_item_matrix[user])
        target = self.item_dst_embedding(item)
        similarity = (mask * torch.bmm(history, target.unsqueeze(2)).squeeze(2)).sum(dim=1)
        return n_items.pow(-self.alpha) * similarity + self.user_bias[user] + self.item_bias[item]

    return inter_forward


@replaces(
    "recbole.model.general_recommender.fism.FISM.user_forward",
    parameters="self user_input item_num user_bias repeats pred_slc",
    until="both kinds of scores of RecBole's FISM agree",
    probe=lambda forward: "sigmoid" not in names_in(forward),
    kind="repair",
)
def score_all_items_as_one(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let FISM score all items at once as it scores one, and users without training interactions by their biases.

    The number of their items, 0, is raised to the power -alpha: with an alpha above 0 all of their scores are NaN.
    """

    def user_forward(self, user_input, item_num, user_bias, repeats=None, pred_slc=None):
        return torch.sigmoid(original(self, user_input, item_num.clamp(min=1), user_bias, repeats, pred_slc))

    return user_forward


@replaces(
    "recbole.model.general_recommender.nais.NAIS.mask_softmax",
    parameters="self similarity logits bias item_num batch_mask_mat",
    until="RecBole's NAIS scores users without training interactions",
    probe=lambda mask_softmax: bool(
        mask_softmax(
            types.SimpleNamespace(alpha=0.0, beta=0.5),
            *(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), torch.zeros(1, 1), torch.zeros(1, 1)),
        )
        .isnan()
        .any()
    ),
    kind="repair",
)
def score_pairs_of_users_without_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let NAIS score users without training interactions by the biases of the items.

    Without a history it divides 0 by 0; torch sorts NaN first.
    """

    def mask_softmax(self, similarity, logits, bias, item_num, batch_mask_mat):
        scores = original(self, similarity, logits, bias, item_num.clamp(min=1), batch_mask_mat)
        return torch.where(batch_mask_mat.any(dim=1), scores, bias)

    return mask_softmax


@replaces(
    "recbole.model.general_recommender.nais.NAIS.softmax",
    parameters="self similarity logits item_num bias",
    until="RecBole's NAIS scores users without training interactions",
    probe=lambda softmax: bool(
        softmax(
            types.SimpleNamespace(alpha=0.5, beta=0.5),
            *(torch.zeros(1, 0), torch.zeros(1, 0), torch.zeros(1, 1), torch.zeros(1)),
        )
        .isnan()
        .any()
    ),
    kind="repair",
)
def score_all_items_for_users_without_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let NAIS do so for all items at once, too.

    With an alpha above 0 the number of their items, 0, is raised to a power below 0.
    """

    def softmax(self, similarity, logits, item_num, bias):
        return original(self, similarity, logits, item_num.clamp(min=1), bias)

    return softmax


# ENMF


@replaces(
    "recbole.model.general_recommender.enmf.ENMF.__init__",
    parameters="self config dataset",
    until="RecBole's ENMF leaves the embeddings of the padding at 0",
    probe=lambda init: "no_grad" not in names_in(init),
    kind="repair",
)
def leave_padding_at_zero(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the padding item of ENMF out of its loss.

    Histories are filled up with the padding item, whose embedding RecBole draws at random after it was 0: the shorter
    a user's history, the more of the loss is about an item that is none.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        with torch.no_grad():
            self.user_embedding.weight[0] = 0
            self.item_embedding.weight[0] = 0

    return init


# LINE


@replaces(
    "recbole.model.general_recommender.line.LINE.sampler",
    parameters="self key_ids",
    until="RecBole's LINE ends where an item belongs to all users",
    probe=lambda sampler: "n_users" not in names_in(sampler),
    kind="repair",
)
def draw_any_user_where_all_have_an_item(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let LINE draw any user for an item that all users have.

    It looks for a user without the item, for ever.
    """

    def sampler(self, key_ids):
        everyone = self.n_users - 1
        of_all = torch.tensor([len(self.used_ids[item]) == everyone for item in key_ids.tolist()], device=self.device)
        if not of_all.any():
            return original(self, key_ids)
        users = torch.empty(len(key_ids), dtype=torch.int64, device=self.device)
        users[~of_all] = original(self, key_ids[~of_all])
        users[of_all] = torch.from_numpy(self.random_num(int(of_all.sum()))).to(users)
        return users

    return sampler


# NNCF


class _SimilarityByMethod:
    """ItemKNN's similarities by the signature that NNCF uses."""

    def __init__(self, matrix, topk):
        self.matrix, self.topk = matrix, topk

    def compute_similarity(self, method):
        from recbole.model.general_recommender.itemknn import ComputeSimilarity

        return ComputeSimilarity(self.matrix, topk=self.topk, method=method).compute_similarity()


@replaces(
    "recbole.model.general_recommender.nncf.NNCF.get_neigh_knn",
    parameters="self",
    until="RecBole's NNCF runs with neigh_info_method knn",
    probe=lambda get_neigh_knn: "method" not in source_of(get_neigh_knn).replace("knn method", ""),
    kind="repair",
)
def find_nearest_neighbours(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let NNCF run with ``neigh_info_method: knn``.

    It asks for similarities by a signature that they no longer have, and crashes.
    """

    def get_neigh_knn(self):
        with mock.patch("recbole.model.general_recommender.nncf.ComputeSimilarity", _SimilarityByMethod):
            return original(self)

    return get_neigh_knn


# DiffRec and LDiffRec


@replaces(
    "recbole.model.general_recommender.diffrec.DiffRec.p_sample",
    parameters="self x_start",
    until="RecBole's DiffRec gives the same scores in each evaluation",
    probe=lambda p_sample: "randn_like" in names_in(p_sample),
    kind="repair",
)
def draw_noise_once_for_all_users(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let DiffRec and LDiffRec use the same noise for each user and in each evaluation.

    With ``sampling_steps`` or ``sampling_noise`` it is drawn at each call: scores depend on the batches, and a second
    evaluation gives other figures.
    """

    def p_sample(self, x_start):
        generator = torch.Generator(x_start.device).manual_seed(0)

        def same_for_all(rows):
            noise = torch.randn(rows.shape[1:], generator=generator, dtype=rows.dtype, device=rows.device)
            return noise.expand_as(rows)

        with mock.patch.object(torch, "randn_like", same_for_all):
            return original(self, x_start)

    return p_sample


# KTUP


@replaces(
    "recbole.model.knowledge_aware_recommender.ktup.KTUP.__init__",
    parameters="self config dataset",
    until="RecBole's KTUP starts from items of length 1",
    probe=lambda init: "weight_data" in names_in(init),
    kind="repair",
)
def start_from_items_of_length_one(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let KTUP start from item embeddings of length 1, as it does from all of its others.

    By a slip of the pen (``weight_data``), they are normalised but not used.
    """

    def init(self, config, dataset):
        original(self, config, dataset)
        self.item_embedding.weight.data = self.item_embedding.__dict__.pop("weight_data")

    return init


@replaces(
    "recbole.model.knowledge_aware_recommender.ktup.KTUP.st_gumbel_softmax",
    parameters="self logits temperature",
    until="RecBole's KTUP gives the same scores in each evaluation",
    probe=lambda softmax: "training" not in names_in(softmax),
    kind="repair",
)
def prefer_the_likeliest_in_evaluations(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let KTUP take the likeliest preference of a user and an item when it is evaluated.

    It draws the preference at each call, and so a second evaluation gives other figures.
    """

    def st_gumbel_softmax(self, logits, temperature=1.0):
        if self.training:
            return original(self, logits, temperature)
        return self.convert_to_one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits)

    return st_gumbel_softmax


# RippleNet


def _leaves_users_out(build: Callable[..., Any]) -> bool:
    nobody = types.SimpleNamespace(user_dict={}, n_users=2, n_hop=1, n_memory=1, logger=mock.Mock(), device="cpu")
    return 1 not in build(nobody)


@replaces(
    "recbole.model.knowledge_aware_recommender.ripplenet.RippleNet._build_ripple_set",
    parameters="self",
    until="RecBole's RippleNet scores users without training interactions",
    probe=_leaves_users_out,
    kind="repair",
)
def pad_users_without_items(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let RippleNet score users without training interactions as it scores those without facts.

    They have no memories at all, and an evaluation ends in an IndexError.
    """

    def build_ripple_set(self):
        ripple_set = original(self)
        padding = torch.zeros(self.n_memory, dtype=torch.int64, device=self.device)
        for user in range(self.n_users):
            if not ripple_set[user]:
                ripple_set[user] = [(padding, padding, padding)] * self.n_hop
        return ripple_set

    return build_ripple_set
