"""The explorer's page: one HTML document that needs nothing from elsewhere."""

import base64
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from recbole_sparse_elsa import output
from recbole_sparse_elsa.explorer.answers import Explorer

_FOLDER = os.path.join(os.path.dirname(__file__), "page_files")
_SCRIPTS = (
    *("ask.js", "elements.js", "combobox.js", "plots.js", "user_views.js", "catalogue_views.js"),
    "start.js",  # last, since it uses all others
)
_TEMPLATES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_TEMPLATES.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}


@functools.lru_cache
def page_html(dataset: str, made_by: str = "") -> str:
    """The page that asks an `ExplorerServer`.

    Parameters
    ----------
    dataset : str
        The name of the data set, for the title.
    made_by : str
        The model and how it was made, see `SparseIndex`.
    """
    return _render(dataset, made_by, None)


def static_page_html(explorer: Explorer) -> str:
    """The page with all that it needs in itself: the explorer's example users, all segments and all dimensions.

    Parameters
    ----------
    explorer : Explorer
        What answers; of each segment and posting list the page has the first ``items_per_page`` items.
    """
    n_segments, n_dimensions = len(explorer.segments), explorer.index.embedding_size
    n_answers = len(explorer.example_users) + n_segments + n_dimensions
    with output.progress("Page", n_answers, "view", shown=None) as bar:

        def answered(ask: Callable[[Any], Any], about: Iterable[Any]) -> dict[str, Any]:
            answers = {}
            for thing in about:
                answers[str(thing)] = ask(thing)
                bar.update()
            return answers

        answers = {
            "overview": explorer.overview(),
            "user": answered(explorer.user, explorer.example_users),
            "segment": answered(explorer.segment, range(n_segments)),
            "dimensions": explorer.dimensions(),
            "dimension": answered(explorer.dimension, range(n_dimensions)),
        }
    return _render(explorer.dataset, explorer.index.made_by, answers)


def _render(dataset, made_by, answers):
    style, script = _read("page.css"), "".join(map(_read, _SCRIPTS))
    # Nothing but this very style and script, and questions to the server that the page is from.
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    texts = {"dataset": dataset, "made_by": made_by, "style": Markup(style), "script": Markup(script)}
    return _TEMPLATES.get_template("page.html").render(policy=policy, answers=answers, **texts)


def _read(name):
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _hash(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
