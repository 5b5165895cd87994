"""A served classifier on this machine, which can be told to fail, to lie and to be slow."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Served:
    """What the server does and what it saw.

    Attributes:
        predict: From inputs to what stands under ``predictions``.
        plan: Replies to give before it works: ``(status, headers, body)``.
        url: Where it is.
        bodies: Inputs of each request.
        headers: Headers of each request.
    """

    predict: Callable[[Any], Any]
    plan: list[Reply] = field(default_factory=list)
    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def reply(self, body: bytes, headers: dict[str, str]) -> Reply:
        x = np.asarray(json.loads(body)["instances"], dtype=np.float32)
        self.bodies.append(x)
        self.headers.append(headers)
        if self.plan:
            return self.plan.pop(0)
        return answer(self.predict(x))


def answer(predictions: Any) -> Reply:
    value = predictions.tolist() if isinstance(predictions, np.ndarray) else predictions
    return 200, {}, json.dumps({"predictions": value}).encode()


@contextmanager
def served(predict: Callable[[Any], Any], *plan: Reply) -> Iterator[Served]:
    """Serve a model on a free loopback port."""
    state = Served(predict, list(plan))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, headers, data = state.reply(
                body, {key.lower(): value for key, value in self.headers.items()}
            )
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1/models/m:predict"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
