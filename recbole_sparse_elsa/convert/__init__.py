"""Publishers' raw files made into a RecBole data set."""

from recbole_sparse_elsa.convert.conversion import Conversion, convert
from recbole_sparse_elsa.convert.raw_formats import RAW_FORMATS, RawFormat

__all__ = ["RAW_FORMATS", "Conversion", "RawFormat", "convert"]
