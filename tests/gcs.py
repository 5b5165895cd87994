"""Google Cloud Storage stand-in on a loopback port: the parts of its JSON API that gcsfs uses."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

# Read when gcsfs is imported: its client of the control API knows no other address than Google's.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


@contextlib.contextmanager
def cloud_storage() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve one bucket, `models`; yields the address and its objects by key."""
    objects: dict[str, bytes] = {}

    class Handler(_Handler):
        stored = objects

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", objects
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    stored: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        _, found, key = url.path.partition("/b/models/o")
        key = unquote(key.strip("/"))
        if not found:
            self._answer(404, {"error": {"code": 404, "message": "no such bucket"}})
        elif not key:
            self._list(query.get("prefix", ""), query.get("delimiter"))
        elif key not in self.stored:
            self._answer(404, {"error": {"code": 404, "message": "No such object"}})
        elif "download" in url.path or query.get("alt") == "media":
            self._media(self.stored[key])
        else:
            self._answer(200, self._about(key))

    def do_POST(self) -> None:
        url = urlparse(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        boundary = (
            b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        )
        parts = body.replace(b"\r\n", b"\n").split(boundary)[1:3]
        about, media = (part.partition(b"\n\n") for part in parts)
        key = json.loads(about[2])["name"]
        self.stored[key] = media[2].removesuffix(b"\n")
        assert parse_qs(url.query)["uploadType"] == ["multipart"]
        self._answer(200, self._about(key))

    def _list(self, prefix: str, delimiter: str | None) -> None:
        items, prefixes = [], set()
        for key in sorted(self.stored):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                items.append(self._about(key))
        self._answer(200, {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    def _about(self, key: str) -> dict[str, Any]:
        data = self.stored[key]
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        return {
            "kind": "storage#object", "name": key, "bucket": "models", "size": str(len(data)),
            "generation": str(int.from_bytes(digest[:6], "big")), "etag": digest.hex(),
            "md5Hash": base64.b64encode(digest).decode(), "contentType": "application/octet-stream",
            "timeCreated": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    def _media(self, data: bytes) -> None:
        wanted, status = self.headers.get("Range"), 200
        headers = {}
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1, len(data)) if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
            data, status = data[int(first) : stop], 206
        self._send(status, data, headers)

    def _answer(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
