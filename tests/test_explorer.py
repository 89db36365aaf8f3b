"""The explorer: what it answers, how it is served, the page in a file, and the command."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from urllib.parse import quote

import hypothesis
import numpy as np
import pytest
from conftest import prepare
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from test_tables import cell, write_results

from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.explorer import Explorer, ExplorerServer, page_html, server, static_page_html
from recbole_sparse_elsa.index import SparseIndex
from recbole_sparse_elsa.segments import ItemMetadata, homepage, name_segments, segment_catalogue

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
N_ITEMS, EMBEDDING_SIZE, K = 90, 24, 4


@pytest.fixture(scope="module")
def parts():
    """An index, named segments and histories, all made up."""
    rng = np.random.default_rng(0)
    columns = rng.random((N_ITEMS, EMBEDDING_SIZE)).argsort(axis=1)[:, :K].ravel()
    values = rng.standard_normal(N_ITEMS * K) + 0.5
    rows = csr_matrix((values, columns, np.arange(N_ITEMS + 1) * K), (N_ITEMS, EMBEDDING_SIZE))
    tokens = [f"i{place}" for place in range(N_ITEMS)]
    index = SparseIndex(rows, tokens, popularity=rng.permutation(N_ITEMS))
    labels = [f"{['Red', 'Green', 'Blue'][place % 3]} Thing {place}" for place in range(N_ITEMS)]
    terms = [label.split()[:1] for label in labels]
    segments = segment_catalogue(index.item_embeddings, tokens, 8, min_size=3, popularity=index.popularity)
    segments = name_segments(segments, ItemMetadata(labels=labels, terms=terms, fields={}))
    histories = {f"u{user}": rng.choice(index.item_tokens, 1 + user % 12, replace=False) for user in range(30)}
    return index, segments, histories


@pytest.fixture
def explorer(parts):
    return Explorer(*parts, "things")


@contextlib.contextmanager
def served(explorer, **options):
    with ExplorerServer(port=0, **options) as server:
        server.explorer = explorer
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def error_of(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    error = str(ended.value)
    assert "\n" not in error
    return error


class PageParser(HTMLParser):
    """Collects the tags of a page, and the text in each of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def embedded_answers(page):
    parser = PageParser(page)
    (attributes,) = [attributes for tag, attributes in parser.tags if attributes.get("id") == "answers"]
    assert attributes["type"] == "application/json"
    return json.loads(parser.scripts[0])


# Answers


def test_recommendations_are_those_of_the_index_and_their_parts_add_up(parts, explorer):
    index, segments, histories = parts
    for user, history in histories.items():
        answer = explorer.user(user)
        assert [item["token"] for item in answer["history"]] == list(history)
        expected = index.recommend(list(history), 20)
        found = answer["recommendations"]
        assert [item["token"] for item in found] == expected.items[expected.scores > 0].tolist()
        np.testing.assert_allclose([item["score"] for item in found], expected.scores[expected.scores > 0], atol=1e-5)
        for item in found:
            assert item["label"] == segments.tree.label(index.position(item["token"]))
            assert item["token"] in segments[item["segment"]].item_tokens
            for name in ("items", "dimensions"):
                others = item[f"other_{name}"] or {"number": 0, "part": 0}
                in_all = sum(part["part"] for part in item[name]) + others["part"]
                assert in_all == pytest.approx(item["score"], abs=1e-4)
            number = len(item["items"]) + (item["other_items"] or {"number": 0})["number"]
            assert number == len(history)
            first = item["items"][0]
            cosine = index.item_embeddings[index.position(first["token"])] @ index.item_embeddings[
                index.position(item["token"])
            ].T
            assert first["part"] == pytest.approx(cosine.toarray().item(), abs=1e-5)


def test_the_homepage_is_that_of_the_segments(parts, explorer):
    index, segments, histories = parts
    history = list(histories["u11"])
    expected = homepage(index, segments, history, 6, 12)
    rows = explorer.user("u11")["homepage"]
    assert [[item["token"] for item in row["items"]] for row in rows] == [row.items for row in expected.rows]
    assert [row["name"] for row in rows] == [row.name for row in expected.rows]
    assert [overview["name"] for overview in explorer.overview()["segments"]] == [segment.name for segment in segments]


def test_active_dimensions_are_the_strongest_of_the_user_and_the_directions_of_segments(parts, explorer):
    index, segments, histories = parts
    answer = explorer.user("u11")["dimensions"]
    user = index.user_vector(list(histories["u11"]))
    shown = answer["dimensions"]
    assert np.abs(user[shown]).tolist() == sorted(np.abs(user[user != 0]), reverse=True)[:24]
    np.testing.assert_allclose(answer["user"], user[shown] / np.linalg.norm(user), atol=1e-5)
    affinities = segments.vectors @ user
    assert [row["segment"] for row in answer["segments"]] == np.argsort(-affinities, kind="stable")[:6].tolist()
    for row in answer["segments"]:
        segment = segments[row["segment"]]
        direction = index.item_embeddings[segment.items].toarray().sum(axis=0)
        np.testing.assert_allclose(row["weights"], (direction / np.linalg.norm(direction))[shown], atol=1e-5)
        assert row["own"] == [
            ((dimension, 1) in segment.factors) != ((dimension, -1) in segment.factors) for dimension in shown
        ]


def test_posting_lists_are_complete_in_order_and_know_their_segments(parts):
    index, segments, histories = parts
    explorer = Explorer(*parts, "things", items_per_page=4)
    embeddings = index.item_embeddings.toarray()
    for dimension in range(EMBEDDING_SIZE):
        first = explorer.dimension(dimension)
        pages = [first["items"]]
        while len(pages[-1]) == 4:
            pages.append(explorer.dimension(dimension, start=4 * len(pages))["items"])
        found = [(item["token"], item["weight"]) for page in pages for item in page]
        column = embeddings[:, dimension]
        assert first["size"] == len(found) == np.count_nonzero(column)
        assert first["n_positive"] == (column > 0).sum()
        assert dict(found) == pytest.approx({f"i{item}": column[item] for item in np.flatnonzero(column)}, abs=1e-5)
        magnitudes = [abs(weight) for _, weight in found]
        assert magnitudes == sorted(magnitudes, reverse=True)
        for sign, place in zip((1, -1), first["segments"]):
            having = [place for place, segment in enumerate(segments) if (dimension, sign) in segment.factors]
            assert having == ([] if place is None else [place])
    assert explorer.overview()["dimensions"] == np.count_nonzero(embeddings, axis=0).tolist()


def test_dimensions_are_called_by_their_top_items_of_either_sign(parts, explorer):
    index, segments, _ = parts
    embeddings, label = index.item_embeddings.toarray(), segments.tree.label
    for found in explorer.dimensions()["dimensions"]:
        column = embeddings[:, found["dimension"]]
        positive = [label(item) for item in np.argsort(-column, kind="stable") if column[item] > 0]
        negative = [label(item) for item in np.argsort(column, kind="stable") if column[item] < 0]
        assert (found["positive"], found["negative"]) == (positive[:4], negative[:4])
        assert (found["size"], found["n_positive"]) == (len(positive) + len(negative), len(positive))
        assert found["name"] == explorer.dimension(found["dimension"])["name"] == f"{positive[0]} ↔ {negative[0]}"
    assert len(explorer.dimensions()["dimensions"]) == EMBEDDING_SIZE
    one_sided = SparseIndex(csr_matrix([[0.6, -0.8, 0], [1.0, 0, 0]]), ["a", "b"])
    made = Explorer(one_sided, segment_catalogue(one_sided.item_embeddings, ["a", "b"], min_size=1), {"u": ["a"]}, "x")
    assert [found["name"] for found in made.dimensions()["dimensions"]] == ["b · a", "↔ a"]


def test_the_overview_tells_the_size_and_the_figures(parts):
    overview = Explorer(*parts, "things", figures={"validation ndcg@100": 0.25}).overview()
    assert overview["figures"] == {"validation ndcg@100": 0.25}
    assert overview["bytes_per_item"] == 8 * K  # 4 bytes for a value, and 4 for its place
    index = parts[0]
    small = SparseIndex(index.item_embeddings, index.item_tokens, encoding="int8")
    assert Explorer(small, *parts[1:], "things").overview()["bytes_per_item"] == (1 + 1) * K + 2


def test_segments_are_listed_page_by_page(parts):
    _, segments, _ = parts
    explorer = Explorer(*parts, "things", items_per_page=5)
    for place, segment in enumerate(segments):
        tokens = []
        for start in range(0, segment.size + 5, 5):
            tokens += [item["token"] for item in explorer.segment(place, start)["items"]]
        assert tokens == segment.item_tokens
        answer = explorer.segment(place)
        assert (answer["name"], answer["size"]) == (segment.name, segment.size)
        assert [(factor["dimension"], factor["sign"]) for factor in answer["factors"]] == segment.factors


def test_completion_of_items(parts, explorer):
    index, segments, _ = parts
    by_popularity = index.item_tokens[np.argsort(-index.popularity)]
    label = {token: segments.tree.label(index.position(token)) for token in by_popularity}
    green = [token for token in by_popularity if label[token].startswith("Green")]
    assert [item["token"] for item in explorer.items("  grEEn ")["items"]] == green[:12]
    (found,) = explorer.items("thing 31")["items"]
    assert found == {"token": "i31", "label": "Green Thing 31"}
    # A token is found too; what begins with the text comes before what contains it.
    assert explorer.items("i7")["items"][0]["token"].startswith("i7")
    assert explorer.items("nothing of this")["items"] == []
    assert [item["token"] for item in explorer.items()["items"]] == by_popularity[:12].tolist()


def test_completion_of_users(explorer):
    assert explorer.users("U2")["users"] == ["u2", *(f"u{user}" for user in range(20, 30))]
    assert explorer.users("9")["users"] == ["u9", "u19", "u29"]
    assert len(explorer.users()["users"]) == 12
    examples = explorer.overview()["users"]
    assert len(set(examples)) == 20 and (examples[0], examples[-1]) == ("u0", "u29")


def test_unknown_items_of_a_history_are_said_and_skipped(explorer):
    answer = explorer.history(["i3", "nowhere", "i3"])
    assert answer["unknown"] == ["nowhere"] and [item["token"] for item in answer["history"]] == ["i3"]
    assert answer["recommendations"] == explorer.history(["i3"])["recommendations"]


def test_a_history_of_all_items_leaves_nothing_to_recommend(parts, explorer):
    answer = explorer.history(list(parts[0].item_tokens))
    assert answer["recommendations"] == [] and answer["homepage"] == []


@pytest.mark.parametrize(
    "question, parameters, said",
    [
        ("user", {"user": ["u99"]}, "data set things has no user 'u99'"),
        ("user", {"user": ["u1", "u2"]}, "user must be given once"),
        ("history", {"item": ["nowhere"]}, "no item of this history is in the catalogue"),
        ("history", {}, "no item of this history"),
        ("segment", {"segment": ["8"]}, "segment is 8, but there are the segments 0 to 7"),
        ("segment", {}, "segment is -1"),
        ("dimension", {"dimension": ["24"]}, "dimension is 24, but there are the dimensions 0 to 23"),
        ("dimension", {"dimension": ["-1"]}, "dimension is '-1', but must be a whole number"),
        ("dimension", {"dimension": ["1"], "start": ["9" * 5000]}, "must be a whole number"),
        ("dimension", {"self": ["1"]}, "dimension has no parameter 'self'"),
        ("answer", {}, "'answer' is no question"),
        ("__init__", {}, "'__init__' is no question"),
    ],
)
def test_wrong_questions(explorer, question, parameters, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        explorer.answer(question, parameters)


def test_segments_of_other_items_are_refused(parts):
    index, segments, histories = parts
    other = SparseIndex(index.item_embeddings, [f"other {place}" for place in range(N_ITEMS)])
    with pytest.raises(OptionError, match="made from other items"):
        Explorer(other, segments, histories, "things")


# The server


def test_the_server_answers_what_the_explorer_does(explorer):
    with served(explorer) as server:
        assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"
        for path, expected in (
            ("overview", explorer.overview()),
            ("users?text=u2", explorer.users("u2")),
            ("items?text=thing+31", explorer.items("thing 31")),
            ("user?user=u7", explorer.user("u7")),
            ("history?item=i1&item=i2", explorer.history(["i1", "i2"])),
            ("segment?segment=3&start=2", explorer.segment(3, 2)),
            ("dimension?dimension=5", explorer.dimension(5)),
        ):
            response, body = ask(server, f"/api/{path}")
            assert response.status == 200 and response.headers["Content-Type"] == "application/json; charset=utf-8"
            assert json.loads(body) == expected


def test_the_page_asks_nothing_of_elsewhere(explorer):
    with served(explorer) as server:
        response, page = ask(server, "/")
    assert response.status == 200 and response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page == page_html("things", explorer.index.made_by)
    # Names of XML namespaces are no addresses of anything that is fetched.
    assert set(re.findall(r"https?://[\w./-]+", page)) <= {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}
    tags = PageParser(page).tags
    assert not [attributes for _, attributes in tags if "src" in attributes]
    (policy,) = [
        attributes["content"] for tag, attributes in tags if "content-security-policy" in str(attributes).lower()
    ]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy


@pytest.mark.parametrize(
    "path, status, said",
    [
        ("/page.js", 404, "no such page"),
        ("/../../../../etc/passwd", 404, "no such page"),
        ("/api", 404, "no such page"),
        ("/api/", 400, "no question"),
        ("/api/save", 400, "no question"),
        ("/api/user?user=nobody", 400, "no user 'nobody'"),
        (f"/api/history?{'&'.join(['item=i1'] * 8000)}", 200, ""),
        (f"/api/history?{'item=i1&' * 9000}", 414, ""),
    ],
)
def test_other_requests_are_refused(explorer, path, status, said):
    with served(explorer) as server:
        response, body = ask(server, path)
        assert response.status == status and said in body
        assert ask(server, "/api/users")[0].status == 200


def test_only_pages_are_asked_for(explorer):
    with served(explorer) as server:
        for method in ("POST", "PUT", "DELETE"):
            assert ask(server, "/api/users", method=method)[0].status == 501


def raw(server, *parts, pause=0.0):
    """What the server sends for bytes, sent one part after another, until it closes the connection."""
    with socket.create_connection(server.server_address, timeout=20) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:  # it closed before all was sent
            pass
        return answer


def status_of(answer):
    return int(re.match(rb"HTTP/1\.0 (\d{3}) ", answer).group(1))


HOST = b"Host: localhost\r\n\r\n"


@pytest.mark.parametrize("path", ["/", "/api/users?text=u2", "/nowhere", "/api/user?user=nobody"])
def test_head_gets_the_headers_of_get_and_no_content(explorer, path):
    with served(explorer) as server:
        (got, body), (head, nothing) = ask(server, path), ask(server, path, method="HEAD")
    assert head.status == got.status and nothing == ""
    assert int(head.headers["Content-Length"]) == len(body.encode())
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"GET /api/users HTTP/1.1\nHost: localhost\n\n", 200),
        (b"\r\nGET /api/users HTTP/1.1\r\n" + HOST, 200),
        (b"GET http://elsewhere.example/api/users HTTP/1.1\r\n" + HOST, 200),
        (b"GET /api/users?text=%FF%ZZ%%00%ED%A0%80 HTTP/1.1\r\n" + HOST, 200),
        (b"GET /api/dimension?dimension=1&start=999999999 HTTP/1.1\r\n" + HOST, 200),
        (b"GET /api/users HTTP/1.1\r\nContent-Length: 500000\r\n" + HOST + b"x" * 500_000, 200),
        (b"POST /api/users HTTP/1.1\r\nContent-Length: 500000\r\n" + HOST + b"x" * 500_000, 501),
        (b"\r\n\r\n", 400),
        (b"\0\xff\n\n", 400),
        (b"GET http://[ HTTP/1.1\r\n" + HOST, 400),
        (b"GET / HTTP/1.x\r\n" + HOST, 400),
        (b"GET /api/dimension?dimension=99999999999 HTTP/1.1\r\n" + HOST, 400),
        (b"GET /\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + HOST, 403),
        (b"GET /%2e%2e/%2fetc/passwd HTTP/1.1\r\n" + HOST, 404),
        (b"GET /" + b"a" * 300_000, 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + HOST, 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 60_000 + b"\r\n") * 3 + HOST, 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_odd_and_malformed_requests_have_an_answer(explorer, request_bytes, status):
    with served(explorer) as server:
        assert status_of(raw(server, request_bytes)) == status
        assert ask(server, "/api/users")[0].status == 200


def test_requests_with_any_bytes_have_an_answer(explorer):
    request = b"GET /api/history?item=i1&item=i2 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
    changes = st.lists(st.tuples(st.integers(0, len(request)), st.integers(0, 3), st.binary(max_size=6)), max_size=5)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(changes)
    def attack(changes):
        mutated = bytearray(request)
        for place, n_removed, added in changes:
            mutated[place : place + n_removed] = added
        answer = raw(server, bytes(mutated) + b"\r\n\r\n")
        assert status_of(answer) in (200, 400, 403, 404, 431, 501, 505)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert not body or b"application/json" not in head or json.loads(body)

    with served(explorer) as server:
        attack()


def test_a_request_that_does_not_come_is_timed_out(explorer, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS_TO_ASK", 0.5)
    with served(explorer) as at:
        begun = time.monotonic()
        assert status_of(raw(at, b"GET / HTTP/1.1\r\nHost: loc")) == 408
        # Drop by drop it is no longer waited for.
        assert raw(at, *[b"a"] * 40, pause=0.05)[:13] in (b"HTTP/1.0 408 ", b"")
        assert time.monotonic() - begun < 5
        assert ask(at, "/api/users")[0].status == 200


def test_an_answer_that_is_not_taken_is_given_up(explorer, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS_TO_TAKE", 0.3)
    monkeypatch.setattr(explorer, "overview", lambda: "a" * 12_000_000)
    with served(explorer) as at, socket.socket() as connection:
        connection.settimeout(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(at.server_address)
        connection.sendall(b"GET /api/overview HTTP/1.1\r\n" + HOST)
        n_bytes = len(connection.recv(100))  # it has begun to send
        time.sleep(1)
        with contextlib.suppress(ConnectionError):
            while received := connection.recv(2**20):
                n_bytes += len(received)
        assert n_bytes < 12_000_000


def test_clients_that_are_gone_leave_nothing_behind(explorer, caplog):
    n_before = threading.active_count()  # other tests have left some
    with served(explorer) as server:
        for place in range(100):
            connection = socket.create_connection(server.server_address)
            # Closed by a reset, which the server meets while it reads, answers or sends.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET / HTTP/1.1\r\n" + HOST * (place % 2))
            connection.close()
        assert ask(server, "/api/users")[0].status == 200
        n_threads = threading.active_count()
    assert n_threads - n_before < 8 and not caplog.records


def test_connections_that_ask_nothing_make_room_for_others(explorer, monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 20)
    with served(explorer) as at:
        held = [socket.create_connection(at.server_address) for _ in range(60)]
        begun = time.monotonic()
        assert ask(at, "/api/users")[0].status == 200
        assert time.monotonic() - begun < server._SECONDS_TO_ASK - 2
        for connection in held:
            connection.close()


@pytest.mark.parametrize("n_requests", [200, 1000])
def test_many_requests_at_once_have_their_answers(explorer, n_requests):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 4000:
        pytest.skip("this process may not open so many files")
    paths = ["/", "/api/overview", "/api/users?text=u2", "/api/segment?segment=1", "/api/user?user=u3"]

    async def get(address, path):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"GET {path} HTTP/1.1\r\n".encode() + HOST)
        answer = await reader.read()
        writer.close()
        return answer

    async def get_all(address):
        return await asyncio.gather(*(get(address, paths[place % len(paths)]) for place in range(n_requests)))

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4000), before[1]))
        with served(explorer) as at:
            answers = asyncio.run(get_all(at.server_address))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for answer in answers:
        assert status_of(answer) == 200
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(re.search(rb"Content-Length: (\d+)", head).group(1)) == len(body)


def test_a_server_that_is_stopped_before_it_begins_does_not_begin(explorer):
    with ExplorerServer(port=0) as at:
        at.explorer = explorer
        at.shutdown()
        at.serve_forever()


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("192.168.1.20:8000", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 403),
        ("localhost.attacker.example:8000", 403),
        ("127.0.0.1.attacker.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_other_names_of_the_host_are_refused(explorer, host, status):
    with served(explorer) as server:
        for path in ("/", "/api/users"):
            assert ask(server, path, host)[0].status == status


def test_the_host_that_was_given_may_be_a_name(explorer, monkeypatch):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **named: resolve("127.0.0.1" if host == "My-PC" else host, *rest, **named),
    )
    with served(explorer, host="My-PC") as server:
        assert ask(server, "/", "my-pc:80")[0].status == 200
        assert ask(server, "/", "your-pc")[0].status == 403


def test_a_fault_of_the_explorer_is_told_and_does_not_end_the_server(explorer, monkeypatch, caplog):
    with served(explorer) as server:
        monkeypatch.setattr(explorer, "overview", lambda: 1 / 0)
        response, body = ask(server, "/api/overview")
        assert response.status == 500 and "ZeroDivisionError" not in body
        assert "ZeroDivisionError" in caplog.text
        assert ask(server, "/api/users")[0].status == 200


# The page in a file


def test_a_static_page_has_the_answers_in_itself(parts):
    explorer = Explorer(*parts, "things", example_users=["u3", "u8"], items_per_page=3)
    answers = embedded_answers(static_page_html(explorer))
    assert answers["overview"] == explorer.overview() and answers["overview"]["users"] == ["u3", "u8"]
    assert answers["user"] == {user: explorer.user(user) for user in ("u3", "u8")}
    assert answers["dimensions"] == explorer.dimensions()
    assert answers["segment"] == {str(place): explorer.segment(place) for place in range(8)}
    assert answers["dimension"] == {str(place): explorer.dimension(place) for place in range(EMBEDDING_SIZE)}


def test_no_text_of_the_data_becomes_markup(parts):
    index, _, _ = parts
    nasty = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>'\"&amp;"
    tokens = [f"{nasty}{place}" for place in range(N_ITEMS)]
    index = SparseIndex(index.item_embeddings, tokens)
    segments = segment_catalogue(index.item_embeddings, tokens, 4, min_size=3)
    explorer = Explorer(index, segments, {nasty: tokens[:3]}, nasty)
    page = static_page_html(explorer)
    parser = PageParser(page)
    plain = PageParser(static_page_html(Explorer(*parts, "a")))
    assert [tag for tag, _ in parser.tags] == [tag for tag, _ in plain.tags]
    assert nasty not in page
    assert embedded_answers(page)["user"][nasty]["history"][0]["label"] == tokens[0]
    with served(explorer) as server:
        response, body = ask(server, f"/api/user?user={quote(nasty)}")
        assert response.status == 200 and json.loads(body) == explorer.user(nasty)
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# The command


def checkpoint_of(model, dataset, **options):
    run = prepare(model, dataset, **options)
    run.trainer._save_checkpoint(0, verbose=False)
    run.trainer.tensorboard.close()
    return run.trainer.saved_model_file


def test_export_writes_a_page_of_a_checkpoint_and_its_data_set(checkerboard, capsys):
    with open("dataset/checkerboard/checkerboard.item", "w", encoding="utf-8") as file:
        file.write("item_id:token\ttitle:token_seq\tkind:token\n")
        file.writelines(f"i{item}\tThing {item}\t{'odd' if item % 2 else 'even'}\n" for item in range(39))
    checkpoint = checkpoint_of("SparseELSA", checkerboard)
    write_results([cell("EASE", {"ndcg@100": 0.5}, size_bytes=400)], "saved/results.csv")
    main(["explore", checkpoint, "--export", "out", "--users", "3"])
    assert "Written: out/index.html" in capsys.readouterr().out
    assert os.listdir("out") == ["index.html"]
    with open("out/index.html", encoding="utf-8") as file:
        answers = embedded_answers(file.read())
    assert len(answers["user"]) == 3
    # User u0 has the even items but every eighth one.
    history = {f"i{item}" for item in range(0, 40, 2) if (item // 2) % 4}
    assert {item["token"] for item in answers["user"]["u0"]["history"]} == history
    labels = {item["token"]: item["label"] for answer in answers["segment"].values() for item in answer["items"]}
    # The item file does not have i39, which is called by its token.
    assert labels == {**{f"i{item}": f"Thing {item}" for item in range(39)}, "i39": "i39"}
    assert answers["overview"]["accuracy"] == [
        {
            **{"dataset": "toy", "metric": "ndcg@100", "smaller_is_better": False, "method": "EASE", "name": "EASE"},
            **{"bytes": 400, "mean": 0.5, "sd": None},
        }
    ]


def test_without_metadata_items_are_called_by_their_tokens(checkerboard, capsys):
    checkpoint = checkpoint_of("SparseELSA", checkerboard)
    with open("saved/results.csv", "w", encoding="utf-8") as file:
        file.write("of,something,else\n")
    main(["explore", checkpoint, "--export", "out"])
    printed = capsys.readouterr().out
    assert "No metadata: the data set has no .item file" in printed
    assert re.search(r"No plot of accuracy against size: .*results\.csv is no result", printed)
    with open("out/index.html", encoding="utf-8") as file:
        answers = embedded_answers(file.read())
    assert all(item["label"] == item["token"] for item in answers["user"]["u0"]["history"])
    assert answers["overview"]["accuracy"] == []


def test_segments_from_a_file(checkerboard):
    checkpoint = checkpoint_of("SparseELSA", checkerboard)
    main(["segments", checkpoint, "--output", "mine.json", "--n_segments", "2"])
    main(["explore", checkpoint, "--export", "out", "--segments", "mine.json"])
    with open("out/index.html", encoding="utf-8") as file:
        assert len(embedded_answers(file.read())["overview"]["segments"]) == 2


def test_what_a_user_can_mend_is_said_in_one_line(checkerboard):
    checkpoint = checkpoint_of("SparseELSA", checkerboard)
    dense = checkpoint_of("ELSA", checkerboard)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = error_of("explore", checkpoint, "--port", port)
    assert error.startswith(f"OptionError: port {port} of host 127.0.0.1 cannot be listened at: Address already in use")
    assert "--port 0" in error
    open("a file", "w").close()
    SparseIndex(csr_matrix(np.eye(3)), ["a", "b", "c"]).save("an.index")
    for options, said in (
        ([checkpoint, "--port", "70000"], "OptionError: port is 70000, but must be 0 to 65535"),
        ([checkpoint, "--host", "no such host"], "OptionError: host is no such host, which is no known name"),
        ([checkpoint, "--results", "none.csv"], "OptionError: none.csv was not found"),
        ([checkpoint, "--segments", "none.json"], "SegmentsFileError: segments file none.json cannot be read"),
        ([checkpoint, "--export", "a file"], "OutputError: export: a file cannot be made a folder"),
        ([checkpoint, "--export", "out", "--users", "0"], "OptionError: users is 0"),
        ([checkpoint, "--export", "out", "--data_path", "none"], "DatasetError: data set checkerboard"),
        ([dense, "--export", "out"], f"CheckpointError: checkpoint {dense} holds model ELSA, but must hold SparseELSA"),
        (["none.pth", "--export", "out"], "CheckpointError: checkpoint none.pth does not exist"),
        (["an.index", "--export", "out"], "OptionError: index file an.index knows no users"),
    ):
        assert error_of("explore", *options).startswith(said)


def test_the_command_serves_until_it_is_interrupted(checkerboard):
    checkpoint = checkpoint_of("SparseELSA", checkerboard)
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_sparse_elsa", "explore", checkpoint, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": TOP},
        # Where the tests run in a shell's background, interrupts are ignored, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        line = next(line for line in process.stdout if line.startswith("Open "))
        host, port = re.search(r"http://([\d.]+):(\d+)/", line).groups()
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/api/overview")
        assert json.loads(connection.getresponse().read())["n_items"] == 40
        connection.close()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
        assert process.returncode == 0 and "Traceback" not in complaints
    finally:
        process.kill()
        process.communicate()
