"""Raw files, of publishers and of one's own, made into a RecBole data set."""

from recbole_sparse_elsa.convert.columns import ColumnOptions
from recbole_sparse_elsa.convert.conversion import Conversion, Part, convert
from recbole_sparse_elsa.convert.forms import KNOWN_FORMS, Form

__all__ = ["KNOWN_FORMS", "ColumnOptions", "Conversion", "Form", "Part", "convert"]
