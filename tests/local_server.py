"""Servers of the tests' own on the loopback interface, and ports that are free."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], **shared: object) -> Iterator[str]:
    """The address of a server that answers with ``handler``, whose class gets ``shared`` as attributes."""
    silent = {"log_message": lambda *_: None}
    server = ThreadingHTTPServer((LOOPBACK, 0), type("Handler", (handler,), silent | shared))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def free_port() -> int:
    """A port that nobody listens on; whoever takes it has to be quick."""
    with dead_port() as port:
        return port


@contextmanager
def dead_port() -> Iterator[int]:
    """A port that is bound and not listened on: nobody else gets it, and nobody answers."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield int(bound.getsockname()[1])
