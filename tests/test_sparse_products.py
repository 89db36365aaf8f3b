"""Products of a sparse matrix with dense ones."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sparse_elsa.core.sparse_products import CsrMatrix


@settings(deadline=None)  # the first product of each kind is compiled
@given(
    rows=st.lists(st.lists(st.sampled_from([0.0, 0.0, 1.0, -2.5]), min_size=5, max_size=5), min_size=1, max_size=6),
    width=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_product_is_that_of_the_matrix_with_its_zeros(rows, width, dtype):
    rows = torch.tensor(rows)
    stored = rows.to_sparse_csr()
    matrix = CsrMatrix(stored.crow_indices(), stored.col_indices(), stored.values(), n_columns=5)
    dense = torch.randn(5, width, generator=torch.Generator().manual_seed(width)).to(dtype)
    product = matrix @ dense
    assert product.dtype == dtype
    expected = rows.double() @ dense.double()
    torch.testing.assert_close(product.double(), expected, rtol=torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
    assert torch.equal(matrix.to_dense(), rows)
