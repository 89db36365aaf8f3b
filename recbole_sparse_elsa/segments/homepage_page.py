"""A homepage as a web page that needs nothing but itself."""

import os

from jinja2 import Environment, FileSystemLoader

_TEMPLATES = Environment(
    loader=FileSystemLoader(os.path.dirname(__file__)), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.globals["zip"] = zip


def homepage_html(page, title="Homepage") -> str:
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
    return _TEMPLATES.get_template("homepage.html").render(page=page, title=title)
