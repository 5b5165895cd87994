"""Google Cloud Storage stand-in on a loopback port: the parts of its XML API that obstore uses.

Source: Cloud Storage, XML API, "x-goog-if-generation-match" (0: there is no object) and "ETag".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextlib.contextmanager
def google_bucket() -> Iterator[dict[str, Any]]:
    """Serve every bucket; yields obstore's options for `gs://` locations."""

    class Handler(_Handler):
        stored: dict[str, tuple[int, bytes]] = {}  # noqa: RUF012 - of this server
        parts: dict[tuple[str, int], bytes] = {}  # noqa: RUF012 - of this server
        lock = threading.Lock()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = {
        "gcs_base_url": f"http://127.0.0.1:{server.server_port}",
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    try:
        yield {
            "service_account_key": json.dumps(account),
            "client_options": {"allow_http": True},
        }
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    stored: dict[str, tuple[int, bytes]]
    parts: dict[tuple[str, int], bytes]
    lock: threading.Lock
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        query = parse_qs(urlsplit(self.path).query)
        if "partNumber" in query:
            self.parts[self._key, int(query["partNumber"][0])] = data
            self._answer(200, headers={"ETag": '"part"'})
            return
        wanted = self.headers.get("x-goog-if-generation-match")
        with self.lock:
            generation = self.stored.get(self._key, (0, b""))[0]
            if wanted is not None and int(wanted) != generation:
                self._answer(412)
                return
            self.stored[self._key] = generation + 1000, data
        self._answer(200, headers=self._about())

    def do_POST(self) -> None:
        """Begin an upload in parts, or put its parts together."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "uploads" in query:
            page = "<InitiateMultipartUploadResult><UploadId>1</UploadId>"
            self._answer(200, f"{page}</InitiateMultipartUploadResult>".encode())
            return
        numbers = [int(each) for each in re.findall(rb"<PartNumber>(\d+)", body)]
        with self.lock:
            data = b"".join(self.parts.pop((self._key, number)) for number in numbers)
            self.stored[self._key] = self.stored.get(self._key, (0, b""))[0] + 1000, data
        page = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        self._answer(200, page.encode(), headers=self._about())

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0])
        elif self._key not in self.stored:
            self._answer(404)
        elif self.headers.get("if-none-match") == self._about()["ETag"]:
            self._answer(304, headers=self._about())
        else:
            self._answer(200, self.stored[self._key][1], headers=self._about())

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path.strip("/"))

    def _about(self) -> dict[str, str]:
        generation, data = self.stored[self._key]
        tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return {
            "ETag": f'"{tag}"',
            "x-goog-generation": str(generation),
            "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
        }

    def _list(self, prefix: str) -> None:
        bucket = self._key
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
            "<LastModified>2026-11-30T00:00:00Z</LastModified><ETag>x</ETag></Contents>"
            for key, (_, data) in (
                (full.removeprefix(f"{bucket}/"), each) for full, each in self.stored.items()
            )
            if key.startswith(prefix)
        )
        page = f"<?xml version='1.0'?><ListBucketResult>{rows}</ListBucketResult>"
        self._answer(200, page.encode(), headers={"Content-Type": "application/xml"})

    def _answer(
        self, status: int, body: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
