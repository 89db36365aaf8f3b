"""A homepage as a web page that needs nothing but itself."""

from __future__ import annotations

import functools
import itertools
import os
from typing import TYPE_CHECKING

from recbole_sparse_elsa.segments.homepage import Homepage

if TYPE_CHECKING:
    from jinja2 import Template


def homepage_html(page: Homepage, title: str = "Homepage") -> str:
    """A homepage as one HTML document, without scripts, pictures or anything from elsewhere.

    Parameters
    ----------
    page : Homepage
        What it shows.
    title : str
        Its heading.

    Returns
    -------
    str
        The document; all text in it is escaped.
    """
    return _template().render(page=page, title=title)


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    folder = FileSystemLoader(os.path.dirname(__file__))
    environment = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["zip_longest"] = itertools.zip_longest
    return environment.get_template("homepage.html")
