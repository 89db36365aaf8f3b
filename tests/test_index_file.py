"""The index file: what it gives back, how large it is, and that no file, however damaged, does more than be refused."""

import contextlib
import hashlib
import json
import os
import pickle
import random
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array
from scipy.sparse.linalg import norm

import recbole_sparse_elsa
from recbole_sparse_elsa.errors import IndexFileError, OptionError
from recbole_sparse_elsa.index import SparseIndex

ENCODINGS = ("float32", "float16", "int8", "int4")


def item_embeddings(n_items, embedding_size, k, seed=0):
    """CSR with k non-zeros in each row."""
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.random((n_items, embedding_size)).argsort(axis=1)[:, :k], axis=1)
    values = rng.standard_normal((n_items, k))
    pointers = np.arange(n_items + 1) * k
    return csr_matrix((values.ravel(), columns.ravel(), pointers), shape=(n_items, embedding_size))


def tokens(n_items):
    return [f"item {position}" for position in range(n_items)]


def assert_same(loaded, index):
    assert (loaded.item_embeddings != index.item_embeddings).nnz == 0
    assert loaded.item_embeddings.shape == index.item_embeddings.shape
    assert loaded.item_embeddings.dtype == np.float32
    assert loaded.item_tokens.tolist() == index.item_tokens.tolist()
    assert loaded.encoding == index.encoding
    if index.popularity is None:
        assert loaded.popularity is None
    else:
        assert loaded.popularity.tolist() == index.popularity.tolist()
    if index.item_scale is None:
        assert loaded.item_scale is None
    else:
        assert loaded.item_scale.tolist() == index.item_scale.tolist()
    assert loaded.scales_input == index.scales_input


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_gives_back_what_was_saved(working_folder, data):
    n_items = data.draw(st.integers(1, 12))
    embedding_size = data.draw(st.sampled_from([1, 5, 256, 257, 70_000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    matrix = random_array((n_items, embedding_size), density=min(1, 3 / embedding_size), rng=rng)
    names = data.draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=n_items, max_size=n_items, unique=True))
    counts = st.lists(st.integers(0, 2**40), min_size=n_items, max_size=n_items)
    popularity = data.draw(st.none() | counts)
    scales = data.draw(st.none() | st.lists(st.floats(1e-4, 9), min_size=n_items, max_size=n_items))
    index = SparseIndex(
        matrix,
        names,
        encoding=data.draw(st.sampled_from(ENCODINGS)),
        popularity=popularity,
        item_scale=scales,
        scales_input=data.draw(st.booleans()),
    )
    index.save("an.index")
    loaded = SparseIndex.load("an.index")
    assert_same(loaded, index)
    loaded.save("again.index")
    with open("an.index", "rb") as first, open("again.index", "rb") as second:
        assert first.read() == second.read()
    assert sorted(os.listdir()) == ["again.index", "an.index"]


@pytest.mark.parametrize("encoding, most", [("float32", 100), ("float16", 68), ("int8", 52), ("int4", 32)])
def test_size_without_the_tokens(encoding, most):
    """k = 16, d = 4,096: 4 + 2, 2 + 2, 1 + 2 bytes or 14 bits a non-zero, and 4 bytes more an item for the rest."""
    n_items = 20_000
    names = tokens(n_items)
    popularity = np.arange(n_items) * 700  # more than two bytes hold
    index = SparseIndex(item_embeddings(n_items, 64, 16), names, encoding=encoding, popularity=popularity)
    wide = csr_matrix(index.item_embeddings)
    wide.resize(n_items, 4096)
    SparseIndex(wide, names, encoding=encoding, popularity=popularity).save("an.index")
    n_token_bytes = sum(map(len, names)) + n_items  # and the length of each
    assert os.path.getsize("an.index") - n_token_bytes <= most * n_items


def test_int4_by_hand():
    """Two columns of 300 have 7 lower bits each, and one has 8; the lowest bit comes first."""
    rows = csr_matrix(([2.0, -1.0, 5.0], ([0, 0, 2], [1, 299, 0])), shape=(3, 300))
    SparseIndex(rows, tokens(3), encoding="int4").save("an.index")
    with open("an.index", "rb") as file:
        header, data = header_of(file.read())
    array = {name: data[slice(*header[name]["data_offsets"])] for name in header if name != "__metadata__"}
    assert array["values"].hex() == "e3e0"  # 7 + 7 and 7 - 4, 7 + 7
    bits = "1001" + "10" + "1000000" + "1101010" + "00000000" + "0000"  # 1 and 299 = 2 * 128 + 43; 0
    assert array["columns"] == int(bits, 2).to_bytes(4, "big") and array["row_lengths"] == bytes([2, 0, 1])
    decoded = SparseIndex.load("an.index").item_embeddings.toarray()
    np.testing.assert_allclose(decoded[0, [1, 299]], np.array([7, -4]) / np.hypot(7, 4), rtol=1e-6)
    assert decoded[2, 0] == 1 and np.count_nonzero(decoded) == 3


def test_other_programs_can_read_it():
    """The values of safetensors' own reader, where it is installed."""
    safetensors = pytest.importorskip("safetensors.numpy")
    index = SparseIndex(item_embeddings(5, 300, 3), tokens(5), popularity=range(5))
    index.save("an.index")
    arrays = safetensors.load_file("an.index")
    assert arrays["values"].tolist() == index.item_embeddings.data.tolist()
    assert arrays["columns"].tolist() == index.item_embeddings.indices.tolist()
    assert arrays["tokens"].tobytes() == b"".join(token.encode() for token in tokens(5))


def test_values_are_mapped_from_the_file():
    SparseIndex(item_embeddings(50, 30, 3), tokens(50)).save("an.index")
    values = SparseIndex.load("an.index")._encoded.values
    while values.base is not None and not isinstance(values, np.memmap):
        values = values.base
    assert isinstance(values, np.memmap) or "mmap" in type(values).__name__


# Files that are refused


def header_of(contents):
    length = int.from_bytes(contents[:8], "little")
    return json.loads(contents[8 : 8 + length]), contents[8 + length :]


def file_of(header, data):
    """A file with the right checksum."""
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    start = len(text).to_bytes(8, "little") + text
    return start.replace(b"0" * 64, hashlib.sha256(start + data).hexdigest().encode()) + data


def saved(n_items=6, **options):
    index = SparseIndex(item_embeddings(n_items, 20, 3), tokens(n_items), **options)
    index.save("an.index")
    with open("an.index", "rb") as file:
        return file.read()


def error_of(contents, path="bad.index"):
    with open(path, "wb") as file:
        file.write(contents)
    with pytest.raises(IndexFileError) as caught:
        SparseIndex.load(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file_and_folder():
    with pytest.raises(IndexFileError, match=r"none\.index cannot be read: No such file"):
        SparseIndex.load("none.index")
    os.mkdir("a folder")
    with pytest.raises(IndexFileError, match="a folder"):
        SparseIndex.load("a folder")


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("code was run",)


def test_files_of_another_kind_are_refused_and_not_run():
    array = np.array([RunsCode()], dtype=object)
    np.savez("a.npz", values=array)
    with open("a.npz", "rb") as file:
        npz = file.read()
    for contents in (b"", b"text", bytes(8), pickle.dumps(RunsCode()), npz, b"\xff" * 100, b"\x02" + bytes(7) + b"{}"):
        assert re.search("is not an index file|it is empty", error_of(contents))
    assert not os.path.exists("code was run")


def test_a_safetensors_file_of_something_else():
    header, data = header_of(saved())
    header["__metadata__"]["format"] = "pt"
    assert "is not an index file of recbole_sparse_elsa" in error_of(file_of(header, data))


@pytest.mark.parametrize(
    "version, remedy", [("5", "a newer recbole_sparse_elsa can read it"), ("3", "make it again with sparse-elsa index")]
)
def test_another_version_of_the_format(version, remedy):
    header, data = header_of(saved())
    header["__metadata__"].update(format_version=version, package_version="7.8.9")
    error = error_of(file_of(header, data))
    assert f"recbole_sparse_elsa 7.8.9 wrote it in version {version} of the format" in error
    assert "this version reads 4" in error and remedy in error


def test_the_file_says_which_version_wrote_it():
    header, _ = header_of(saved())
    assert header["__metadata__"]["package_version"] == recbole_sparse_elsa.__version__


def test_damage_is_seen_by_the_checksum():
    contents = saved()
    data_start = 8 + int.from_bytes(contents[:8], "little")
    for place in (len(contents) - 1, data_start + 5, contents.index(b'"n_items"') + 12):
        damaged = bytearray(contents)
        damaged[place] ^= 1
        assert "checksum" in error_of(bytes(damaged))
    assert "checksum" in error_of(contents[:-1])
    assert "checksum" in error_of(contents + b"\0")


def _retype(header, data, name, dtype, n_bytes):
    start, end = header[name]["data_offsets"]
    header[name].update(dtype=dtype, shape=[(end - start) // n_bytes])
    return header, data


def _change(header, data, name, place, value):
    start = header[name]["data_offsets"][0]
    changed = bytearray(data)
    changed[start + place : start + place + len(value)] = value
    return header, bytes(changed)


def _of_a_later_version(header, data):
    header["__metadata__"].update(package_version="\x1b[2J\n", format_version="5")
    return header, data


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda header, data: _change(header, data, "columns", 0, b"\x14"), "column is beyond"),
        (lambda header, data: _change(header, data, "columns", 0, b"\x13"), "do not rise"),
        (lambda header, data: _change(header, data, "values", 0, np.float32("nan").tobytes()), "not finite"),
        (lambda header, data: _change(header, data, "values", 0, np.float32(9).tobytes()), "norm 1"),
        (lambda header, data: _change(header, data, "tokens", 0, b"\xff"), "not UTF-8"),
        (lambda header, data: _change(header, data, "token_lengths", 0, b"\x00"), "tokens are not as long"),
        (lambda header, data: _change(header, data, "tokens", 5, b"1"), "'item 1' occurs twice"),
        (lambda header, data: (header["__metadata__"].update(n_items="7") or header, data), "as many tokens as items"),
        (lambda header, data: (header["__metadata__"].update(n_items="9" * 18) or header, data), "as many tokens"),
        (lambda header, data: (header["__metadata__"].update(n_items="9" * 5000) or header, data), "n_items is"),
        (lambda header, data: (header["__metadata__"].update(embedding_size="2") or header, data), "beyond"),
        (lambda header, data: (header["__metadata__"].update(embedding_size="9" * 12) or header, data), "is 9999"),
        (lambda header, data: (header["values"].update(dtype="F64") or header, data), "type 'F64'"),
        (lambda header, data: (header["values"].update(shape=[2**62]) or header, data), "not where it should be"),
        (lambda header, data: (header["values"].update(shape=[-18]) or header, data), "is no size"),
        (lambda header, data: (header["values"].update(shape=18) or header, data), "does not describe values"),
        (lambda header, data: (header["columns"].update(data_offsets=[0, 18]) or header, data), "not where"),
        (_of_a_later_version, r"recbole_sparse_elsa \x1b[2J\n wrote it in version 5"),
        (lambda header, data: (header["__metadata__"].update(scales_input="1") or header, data), "scales_input is '1'"),
        (lambda header, data: (header.pop("tokens") and header, data), "not those of an index"),
        (lambda header, data: (header.update(more=header["tokens"]) or header, data), "not those of an index"),
        (lambda header, data: (header, data + b"\0"), "longer than its arrays"),
    ],
)
def test_wrong_contents_with_the_right_checksum(change, said):
    contents = file_of(*change(*header_of(saved())))
    assert said in error_of(contents)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda header, data: (header["values"].update(dtype="U32") or header, data), "type 'U32'"),
        (lambda header, data: _change(header, data, "values", 0, b"\xff"), "a value is beyond 7"),
        (lambda header, data: _change(header, data, "columns", 0, b"\0"), "as many columns as values"),
        (lambda header, data: (header["columns"].update(dtype="U16") or header, data), "columns is not where"),
        (lambda header, data: _retype(header, data, "columns", "U16", 2), "type uint16, but holds bits"),
        (lambda header, data: _change(header, data, "row_lengths", 0, b"\x09"), "as many values as there are"),
        (lambda header, data: _change(header, data, "row_lengths", 0, b"\x00\x06"), "as many bits as there are"),
        (lambda header, data: (header["__metadata__"].update(embedding_size="9") or header, data), "as many bits"),
    ],
)
def test_wrong_int4_contents_with_the_right_checksum(change, said):
    contents = file_of(*change(*header_of(saved(encoding="int4"))))
    assert said in error_of(contents)


@pytest.mark.parametrize("checksum", ['"\\ud800"', "null", "[1]", '"x"'])
def test_a_checksum_that_is_none(checksum):
    contents = saved()
    start = 8 + int.from_bytes(contents[:8], "little")
    text = re.sub(rb'"sha256": "\w*"', b'"sha256": ' + checksum.encode().replace(b"\\", b"\\\\"), contents[8:start])
    assert "its checksum (SHA-256) is " in error_of(len(text).to_bytes(8, "little") + text + contents[start:])


@pytest.mark.parametrize("n_items, embedding_size, density", [(4, 2**20, 1.0), (8000, 1024, 1.0), (200_000, 64, 0.01)])
def test_memory_is_bounded_by_the_size_of_the_file(n_items, embedding_size, density):
    rows = csr_matrix(np.random.default_rng(0).random((n_items, embedding_size), dtype=np.float32) * 0.5 + 0.5)
    if density < 1:
        rows.data[np.random.default_rng(1).random(rows.nnz) > density] = 0
    SparseIndex(rows, list(map(str, range(n_items))), encoding="int4").save("an.index")
    tracemalloc.start()
    try:
        SparseIndex.load("an.index")
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 60 * os.path.getsize("an.index") + 100e6


def test_deeply_nested_header():
    text = b'{"__metadata__":' + b"[" * 60_000
    assert "is not an index file" in error_of(len(text).to_bytes(8, "little") + text)


def _mutated(contents, rng):
    """A few changes to a file; half of the files stay readable as JSON and get the right checksum."""
    if rng.random() < 0.5:
        return _damaged(contents, rng)
    header, data = header_of(contents)
    if rng.random() < 0.5:
        return file_of(header, _damaged(data, rng))
    text = json.dumps(header)
    for _ in range(rng.randint(1, 2)):
        number = rng.choice(list(re.finditer(r"\d+", text)))
        other = rng.choice(["-1", "0", "1", "4", "24", "9" * rng.randint(1, 25), str(int(number.group()) + 1)])
        text = text[: number.start()] + other + text[number.end() :]
    with contextlib.suppress(ValueError, KeyError):
        return file_of(json.loads(text), data)
    return _damaged(contents, rng)


def _damaged(contents, rng):
    """A few bytes changed, replaced, cut out, put in, or all cut off."""
    changed = bytearray(contents)
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 8, 40))
        kind = rng.randrange(8)
        if kind < 4 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 4:
            changed[place : place + length] = rng.randbytes(length)
        elif kind == 5:
            del changed[place : place + length]
        elif kind == 6:
            changed[place:place] = rng.randbytes(length)
        elif kind == 7:
            del changed[place:]
    return bytes(changed)


def test_ten_thousand_mutated_files_load_right_or_are_refused():
    rng = random.Random(6)
    originals = [
        saved(6, encoding="float16", popularity=[3, 1, 4, 1, 5, 70_000]),
        saved(4, encoding="int8", popularity=[3, 1, 4, 1], item_scale=[0.5, 1, 2, 0.25], scales_input=True),
        saved(6, encoding="int4"),
    ]
    rows = csr_matrix(([1.0, 2, 3, 4], [0, 3, 3, 1], [0, 2, 2, 4]), shape=(3, 300))
    SparseIndex(rows, ["a", "", "ü"]).save("an.index")
    with open("an.index", "rb") as file:
        originals.append(file.read())
    refused, loaded = 0, 0
    for number in range(10_000):
        contents = originals[number % len(originals)]
        mutated = _mutated(contents, rng)
        # A new file each time: one that is mapped must not be changed.
        with open("next.index", "wb") as file:
            file.write(mutated)
        try:
            index = SparseIndex.load("next.index")
        except IndexFileError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            loaded += 1
            norms = norm(index.item_embeddings, axis=1)
            assert np.all((np.abs(norms - 1) < 2e-3) | (np.diff(index.item_embeddings.indptr) == 0))
            found = index.recommend([index.item_tokens[0]], 1, mask_history=False)
            assert found.items[0] in index
            del index
        os.remove("next.index")
    assert refused + loaded == 10_000
    # Changes of single bytes of values and tokens with the right checksum make other files that are as good.
    assert loaded > 500 and refused > 5_000


# Files that are not written


def test_a_token_that_utf_8_cannot_hold():
    with pytest.raises(OptionError, match="UTF-8"):
        SparseIndex(item_embeddings(1, 4, 2), ["\ud800"]).save("an.index")
    assert os.listdir() == []


def test_a_folder_that_does_not_exist():
    with pytest.raises(OptionError, match=r"nowhere/an\.index cannot be written"):
        SparseIndex(item_embeddings(1, 4, 2), ["a"]).save("nowhere/an.index")
