"""Serves the explorer's page, and answers its questions as JSON.

asyncio holds the connections, so that a slow or idle one costs no thread, and each is given a time; Python's
http.server parses the requests; a few threads make the answers.
"""

import asyncio
import functools
import io
import ipaddress
import json
import logging
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recbole_sparse_elsa.errors import OptionError, UserError
from recbole_sparse_elsa.explorer.answers import Explorer
from recbole_sparse_elsa.explorer.page import page_html

_QUESTIONS_AT = "/api/"
# Connections that wait to be accepted; the system may allow fewer.
_BACKLOG = 4096
# Connections at a time, so that there are files left to open. If there are that many, those go that have not asked
# within a second.
_MOST_CONNECTIONS = 4000
_SECONDS_WHEN_FULL = 1
# Seconds until a request must have come whole, and until its answer must have been taken.
_SECONDS_TO_ASK, _SECONDS_TO_TAKE = 10, 30
# Bytes of a request: http.server allows a first line of 65,536, and so a history.
_MOST_BYTES = 2**17
_END_OF_REQUEST = re.compile(rb"\n\r?\n")
# Answers are made at the speed of Python, and more threads would not make them faster. The last ones are kept: what is
# explored never changes.
_THREADS, _KEPT_ANSWERS = 2, 128


class ExplorerServer:
    """An HTTP server that listens from the start, and answers once it has an explorer and ``serve_forever`` runs.

    ``GET /`` is the page, and ``GET /api/QUESTION?PARAMETER=VALUE`` the JSON of `Explorer.answer`; it serves no files.
    Requests are answered only where their Host is an IP address, localhost or ``host``, so that no web page from
    elsewhere can read the data under a name of its own (DNS rebinding). A request must have come within 10 seconds, and
    its answer been taken within 30; there is one request to a connection.

    Parameters
    ----------
    host : str
        The name or address to listen at; 127.0.0.1 is reached from this machine only.
    port : int
        0 to 65,535; 0 for any that is free.

    Attributes
    ----------
    explorer : Explorer
        What answers, to be set before ``serve_forever``.
    server_address : tuple
        The address and port that it listens at.
    url : str
        Where the page is.
    json_of : callable
        ``json_of(question, query)`` is what ``GET /api/QUESTION?QUERY`` answers; the last answers are kept.

    Raises
    ------
    OptionError
        The port is not allowed or in use, or the host is not one of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8000) -> None:
        if not 0 <= port <= 65535:
            raise OptionError(f"port is {port}, but must be 0 to 65535")
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError):
            raise OptionError(
                f"host is {host}, which is no known name or address; give 127.0.0.1 for this machine"
            ) from None
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two servers listen at the same port
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise OptionError(
                f"port {port} of host {host} cannot be listened at: {error.strerror}; give another with --port, or "
                "--port 0 for any that is free"
            ) from None
        self._socket.setblocking(False)
        self.explorer: Explorer | None = None
        self.host = host
        self.server_address = self._socket.getsockname()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}/"
        self._lock, self._stopped = threading.Lock(), False
        self._stop: Any = None
        self.json_of = functools.lru_cache(_KEPT_ANSWERS)(self._json_of)

    def _json_of(self, question: str, query: str) -> str:
        assert self.explorer is not None
        parameters = parse_qs(query, keep_blank_values=True, max_num_fields=10_000)
        return _json(self.explorer.answer(question, parameters))

    def __enter__(self) -> "ExplorerServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def serve_forever(self) -> None:
        """Answer requests until ``shutdown`` is called from another thread, or the command is interrupted."""
        asyncio.run(self._serve())

    def shutdown(self) -> None:
        """End ``serve_forever``, whether it has begun yet or not."""
        with self._lock:
            self._stopped = True
            if self._stop is not None:
                self._stop()

    async def _serve(self):
        loop, accepting = asyncio.get_running_loop(), asyncio.current_task()
        with self._lock:
            if self._stopped:
                return
            self._stop = functools.partial(loop.call_soon_threadsafe, accepting.cancel)
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="explorer")
        try:
            await self._accept(loop, pool)
        except asyncio.CancelledError:
            if not self._stopped:  # but interrupted
                raise
        finally:
            with self._lock:
                self._stop = None
            pool.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, loop, pool):
        most = _most_connections()
        # All that are open; and those that have not asked yet, the oldest first, with the time that they came at.
        connected, asking = set(), {}
        while True:
            while len(connected) >= most:
                for task, since in list(asking.items()):
                    if loop.time() - since > _SECONDS_WHEN_FULL:
                        task.cancel()
                await asyncio.sleep(0.05)
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError:  # the client is gone, or this process has too many files open
                await asyncio.sleep(0.05)
                continue
            task = loop.create_task(self._converse(loop, pool, connection, asking))
            connected.add(task)
            asking[task] = loop.time()
            task.add_done_callback(connected.discard)
            task.add_done_callback(lambda task: asking.pop(task, None))

    async def _converse(self, loop, pool, connection, asking):
        with connection:
            connection.setblocking(False)
            try:
                try:
                    head = await asyncio.wait_for(_read_head(loop, connection), _SECONDS_TO_ASK)
                    if not head:
                        return
                    asking.pop(asyncio.current_task(), None)
                    response = await loop.run_in_executor(pool, _response, self, head)
                except asyncio.TimeoutError:
                    response = _response(self, HTTPStatus.REQUEST_TIMEOUT)
                await asyncio.wait_for(loop.sock_sendall(connection, response), _SECONDS_TO_TAKE)
                # What is closed with something unread is reset, and the client may lose the answer.
                connection.shutdown(socket.SHUT_WR)
                await asyncio.wait_for(_read_rest(loop, connection), 1)
            except (OSError, asyncio.TimeoutError):
                pass  # the client is gone, or does not take its answer


def _most_connections():
    """As many as this process may have open, and some files beside."""
    try:
        import resource
    except ImportError:  # not on Windows
        return _MOST_CONNECTIONS
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if may_open == resource.RLIM_INFINITY else max(1, min(_MOST_CONNECTIONS, may_open - 100))


async def _read_head(loop, connection):
    """The first line and the headers of a request; or what there is, where they are too long or never end."""
    head = bytearray()
    while len(head) <= _MOST_BYTES:
        part = await loop.sock_recv(connection, 65536)
        end_begins = max(0, len(head) - 2)
        head += part
        if not part or _END_OF_REQUEST.search(head, end_begins):
            break
    return bytes(head)


async def _read_rest(loop, connection):
    while await loop.sock_recv(connection, 65536):
        pass


def _response(server, request):
    """The bytes to send for those of a request, or for one that is refused with a status."""
    return _Handler(server, request).wfile.getvalue()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


class _Handler(BaseHTTPRequestHandler):
    """Parses one request, and makes its response. A body is never read."""

    server_version = "sparse-elsa"
    sys_version = ""

    def __init__(self, server, request):
        self.server = server
        self.requestline, self.request_version, self.command = "", "", None
        self.wfile = io.BytesIO()
        if isinstance(request, HTTPStatus):
            self.send_error(request)
        elif len(request) > _MOST_BYTES and b"\n" in request[:65537]:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self.rfile = io.BytesIO(request.lstrip(b"\r\n"))
            self.handle_one_request()
            if not self.wfile.getvalue():
                self.send_error(HTTPStatus.BAD_REQUEST, "the request has no first line")

    def do_GET(self):
        try:
            self._answer()
        except (UserError, ValueError) as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))
        except Exception:
            logging.getLogger(__name__).exception("no answer to %r", self.path)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "the explorer failed; its console says why")

    do_HEAD = do_GET  # `_send` leaves the content out

    def _answer(self):
        if not self._host_is_allowed():
            return self.send_error(HTTPStatus.FORBIDDEN, "this page is not served under this name of a host")
        url = urlsplit(self.path)
        explorer = self.server.explorer
        if url.path == "/":
            return self._send(HTTPStatus.OK, "text/html", page_html(explorer.dataset, explorer.index.made_by))
        if not url.path.startswith(_QUESTIONS_AT):
            return self.send_error(HTTPStatus.NOT_FOUND, "there is no such page")
        answer = self.server.json_of(url.path.removeprefix(_QUESTIONS_AT), url.query)
        self._send(HTTPStatus.OK, "application/json", answer)

    def _host_is_allowed(self):
        try:
            (host,) = self.headers.get_all("Host", [])
            name = urlsplit(f"//{host}").hostname or ""
            if name in ("localhost", self.server.host.lower()):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def send_error(self, code, message=None, explain=None):
        """As http.server's, which calls it too, but as JSON."""
        self._send(code, "application/json", _json({"error": message or HTTPStatus(code).phrase}))

    def _send(self, status, kind, text):
        content = text.encode()
        if self.request_version == "HTTP/0.9":  # which has no headers; it also stands for what cannot be parsed
            self.request_version = self.protocol_version
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Requests are not logged: they hold what users are interested in."""
