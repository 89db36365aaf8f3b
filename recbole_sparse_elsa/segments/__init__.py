"""Segments of the catalogue and homepages made of them (method page, section 7)."""

from recbole_sparse_elsa.segments.homepage import Homepage, HomepageRow, homepage
from recbole_sparse_elsa.segments.homepage_page import homepage_html
from recbole_sparse_elsa.segments.item_metadata import ItemMetadata, read_item_file
from recbole_sparse_elsa.segments.named_segments import named_segments
from recbole_sparse_elsa.segments.naming import name_segments
from recbole_sparse_elsa.segments.segment_catalogue import segment_catalogue
from recbole_sparse_elsa.segments.segments import Segment, Segments, SegmentTree

__all__ = [
    "Homepage",
    "HomepageRow",
    "ItemMetadata",
    "Segment",
    "SegmentTree",
    "Segments",
    "homepage",
    "homepage_html",
    "name_segments",
    "named_segments",
    "read_item_file",
    "segment_catalogue",
]
