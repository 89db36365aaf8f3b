"""Titles that try to be more than a text, in the explorer's page: shown as they are, and nothing runs."""

import os
import random

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from test_explorer_in_a_browser import driver, until  # noqa: F401  (a fixture)

from recbole_sparse_elsa.explorer import Explorer, static_page_html
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import name_segments, read_item_file, segment_catalogue

pytestmark = pytest.mark.browser

# Pages, each with so many titles: in a normal run, and with -m slow.
PAGES = 2, 40
N_ITEMS = 24
_PIECES = [
    *("<script>ran=1</script>", "<img src=x onerror=ran=1>", "</script><script>ran=1</script>", "<svg onload=ran=1>"),
    *("javascript:ran=1", '" onmouseover=ran=1 x="', "' onfocus=ran=1 autofocus '", "<!--", "-->", "]]>", "&lt;b&gt;"),
    *("{{7*7}}", "${ran=1}", "`${ran=1}`", "\\u003cscript>ran=1\\u003c/script>", "<style>*{display:none}</style>"),
    *("<iframe srcdoc='<script>parent.ran=1</script>'>", "</title><script>ran=1</script>", "\u202e", "\u2028"),
    *("<a href=javascript:ran=1>", "<base href=//x>", "<meta http-equiv=refresh content=0>", "</textarea>"),
    *("__proto__", "constructor", "\U0001f600", "é" * 30, "x" * 400, "../..", "#", "?", "%00", "\\", "'", "\x1b[2J"),
]


_IS_SHOWN = "return document.querySelectorAll('main *').length > 3"


def titles_of(rng):
    return ["".join(rng.choice(_PIECES) for _ in range(rng.randint(1, 3))) + f" {item}" for item in range(N_ITEMS)]


def page_of(titles, rng):
    """A page whose item tokens, users, segments' names and data set are hostile, too."""
    rows = np.random.default_rng(rng.randrange(2**32)).random((N_ITEMS, 8)) * (np.arange(8) % 3 == 0)
    tokens = [f"{rng.choice(_PIECES[:12])}{item}".replace(" ", "\u00a0") for item in range(N_ITEMS)]
    with open("data.item", "w", encoding="utf-8", newline="\n") as file:
        file.write("item_id:token\ttitle:token\tgenre:token_seq\n")
        file.writelines(f"{token}\t{title}\t{rng.choice(_PIECES)}\n" for token, title in zip(tokens, titles))
    index = SparseIndex(csr_matrix(rows), tokens, popularity=range(N_ITEMS))
    segments = name_segments(
        segment_catalogue(index.item_embeddings, tokens, 3, min_size=1), read_item_file("data.item", tokens)
    )
    histories = {f"{rng.choice(_PIECES)}{user}": tokens[user::5] for user in range(4)}
    return static_page_html(Explorer(index, segments, histories, rng.choice(_PIECES), example_users=list(histories)))


def attacked(attack, driver, n_pages):  # noqa: F811
    with attack("pages with hostile titles in a browser") as begun:
        for seed in range(n_pages):
            rng = random.Random(seed)
            titles = titles_of(rng)
            with open("page.html", "w", encoding="utf-8") as file:
                file.write(page_of(titles, rng))
            with begun.one(f"seed {seed}"):
                shown = ""
                for view in ("", "#segment/0", "#segment/1", "#segment/2", "#users", "#dimensions", "#dimension/0"):
                    driver.get("about:blank")
                    driver.get_log("browser")
                    driver.get(f"file://{os.getcwd()}/page.html{view}")
                    until(driver, lambda: driver.execute_script(_IS_SHOWN))
                    assert driver.execute_script("return typeof ran") == "undefined", view
                    assert driver.execute_script("return document.querySelectorAll('iframe, base, img').length") == 0
                    assert driver.get_log("browser") == [], view
                    shown += driver.execute_script("return document.body.textContent")
                assert sum(title in shown for title in titles) > N_ITEMS // 2


def test_a_few_pages_with_hostile_titles(attack, driver):  # noqa: F811
    attacked(attack, driver, PAGES[0])


@pytest.mark.slow
def test_many_pages_with_hostile_titles(attack, driver):  # noqa: F811
    attacked(attack, driver, PAGES[1])
