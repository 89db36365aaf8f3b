"""A web page on a model and its data set: users, recommendations, segments and latent dimensions."""

from recbole_sparse_elsa.explorer.answers import Explorer
from recbole_sparse_elsa.explorer.page import page_html, static_page_html
from recbole_sparse_elsa.explorer.server import ExplorerServer

__all__ = ["Explorer", "ExplorerServer", "page_html", "static_page_html"]
