"""Serves the explorer's page, and answers its questions as JSON, by Python's own HTTP server."""

import ipaddress
import json
import logging
import os
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recbole_sparse_elsa.errors import OptionError, UserError
from recbole_sparse_elsa.explorer.answers import Explorer
from recbole_sparse_elsa.explorer.page import page_html

_QUESTIONS_AT = "/api/"


class ExplorerServer(ThreadingTCPServer):
    """An HTTP server that listens from the start, and answers once it has an explorer and ``serve_forever`` runs.

    ``GET /`` is the page, and ``GET /api/QUESTION?PARAMETER=VALUE`` the JSON of `Explorer.answer`; it serves no files.
    Requests are answered only where their Host is an IP address, localhost or ``host``, so that no web page from
    elsewhere can read the data under a name of its own (DNS rebinding).

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
    url : str
        Where the page is.

    Raises
    ------
    OptionError
        The port is not allowed or in use, or the host is not one of this machine.
    """

    # Elsewhere it would let two servers listen at the same port.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", port: int = 8000) -> None:
        if not 0 <= port <= 65535:
            raise OptionError(f"port is {port}, but must be 0 to 65535")
        address: Any
        try:
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError):
            raise OptionError(
                f"host is {host}, which is no known name or address; give 127.0.0.1 for this machine"
            ) from None
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise OptionError(
                f"port {port} of host {host} cannot be listened at: {error.strerror}; give another with --port, or "
                "--port 0 for any that is free"
            ) from None
        self.explorer: Explorer | None = None
        self.host = host
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    # Seconds until a request must have come. Its first line, and so a history, has at most 65,536 bytes, and a body is
    # never read: http.server sees to both.
    timeout = 30
    server_version = "sparse-elsa"
    sys_version = ""

    def do_GET(self):
        if not self._host_is_allowed():
            return self._send_error(HTTPStatus.FORBIDDEN, "this page is not served under this name of a host")
        url = urlsplit(self.path)
        if url.path == "/":
            explorer = self.server.explorer
            return self._send(HTTPStatus.OK, "text/html", page_html(explorer.dataset, explorer.index.made_by))
        if not url.path.startswith(_QUESTIONS_AT):
            return self._send_error(HTTPStatus.NOT_FOUND, "there is no such page")
        try:
            parameters = parse_qs(url.query, keep_blank_values=True, max_num_fields=10_000)
            answer = self.server.explorer.answer(url.path.removeprefix(_QUESTIONS_AT), parameters)
        except (UserError, ValueError) as error:
            return self._send_error(HTTPStatus.BAD_REQUEST, str(error))
        except Exception:
            logging.getLogger(__name__).exception("no answer to %r", self.path)
            return self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "the explorer failed; its console says why")
        self._send_json(HTTPStatus.OK, answer)

    def _host_is_allowed(self):
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            if name in ("localhost", self.server.host.lower()):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _send_error(self, status, message):
        self._send_json(status, {"error": message})

    def _send_json(self, status, content):
        self._send(status, "application/json", json.dumps(content, ensure_ascii=False, allow_nan=False))

    def _send(self, status, kind, text):
        content = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Requests are not logged: they hold what users are interested in."""
