"""Serving is light: an index and segments are used without torch and RecBole."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import random_array

from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import segment_catalogue

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEAVY = (
    *("torch", "recbole", "pandas", "sklearn", "matplotlib", "jinja2", "tqdm", "tabulate", "joblib", "yaml"),
    *("scipy.cluster", "scipy.spatial", "scipy.stats"),
)


def run_python(code, *heavy_that_may_be):
    """Run code in a new interpreter, and return what it prints; fail if it has loaded what is heavy."""
    forbidden = [name for name in HEAVY if name not in heavy_that_may_be]
    code += f"\nimport sys\nprint('loaded:', *(name for name in {forbidden!r} if name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": TOP},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    printed, _, loaded = result.stdout.rpartition("loaded:")
    assert loaded.split() == []
    return printed


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    rows = random_array((300, 64), density=0.2, rng=rng, data_sampler=rng.standard_normal)
    tokens = [f"i{place}" for place in range(300)]
    index = SparseIndex(rows, tokens, popularity=rng.integers(1, 9, 300))
    index.save(tmp_path / "an.index")
    segments = segment_catalogue(index.item_embeddings, index.item_tokens, min_size=5)
    segments.save(tmp_path / "segments.json")
    return index, str(tmp_path / "an.index"), str(tmp_path / "segments.json")


@pytest.mark.parametrize("package", ["", ".index", ".segments"])
def test_importing_what_is_served_loads_neither_torch_nor_recbole(package):
    run_python(f"import recbole_sparse_elsa{package}")


def test_the_public_index_is_light():
    run_python("from recbole_sparse_elsa import SparseIndex")


def test_recommending_in_a_program_loads_numpy_and_scipy_only(files):
    index, index_file, _ = files
    printed = run_python(
        "from recbole_sparse_elsa.index import SparseIndex\n"
        f"index = SparseIndex.load({index_file!r})\n"
        "print(*index.recommend(['i3', 'i5'], 10).items)\n"
        "index.explain(['i3', 'i5'], 'i7'), index.similar('i3', 5)"
    )
    assert printed.split() == index.recommend(["i3", "i5"], 10).items.tolist()


def test_the_command_recommend_loads_only_what_it_needs(files):
    index, index_file, _ = files
    printed = run_python(
        f"from recbole_sparse_elsa.__main__ import main\nmain(['recommend', {index_file!r}, 'i3', 'i5', '--explain'])",
        "tabulate",
    )
    assert index.recommend(["i3", "i5"], 1).items[0] in printed


def test_the_command_homepage_loads_only_what_it_needs(files):
    _, index_file, segments_file = files
    page = os.path.join(os.path.dirname(index_file), "page.html")
    arguments = ["homepage", index_file, segments_file, "--items", "i3", "i5", "--output", page]
    printed = run_python(
        f"from recbole_sparse_elsa.__main__ import main\nmain({arguments!r})", "tabulate", "jinja2"
    )
    assert "affinity" in printed and os.path.isfile(page)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_a_server_of_an_index_needs_little_memory(files):
    _, index_file, _ = files
    printed = run_python(
        "from recbole_sparse_elsa.index import SparseIndex\n"
        f"SparseIndex.load({index_file!r}).recommend(['i3', 'i5'], 10)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    # In kB; torch alone is twice as much.
    assert int(printed.split()[1]) < 130_000
