"""Hugging Face Hub stand-in on a loopback port: repositories in memory behind the hub's API."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

LARGE = 1000  # bytes; chosen: larger files are LFS objects, whose ETag is a SHA-256


@dataclass
class Hub:
    """Repositories as name → path → bytes, and what was asked for."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def commit(self, name: str) -> str:
        """Identifier of a repository's newest commit."""
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(repr(files).encode()).hexdigest()  # noqa: S324 - as git names commits


def etag(data: bytes) -> str:
    """The ETag that the hub gives a file."""
    if len(data) > LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - git's


def entry(path: str, data: bytes) -> dict[str, Any]:
    """A file in the answers of the API."""
    value: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": etag(data)}
    if len(data) > LARGE:
        value["lfs"] = {"oid": etag(data), "size": len(data), "pointerSize": 100}
    return value


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """Serve a hub without repositories."""
    served = Hub()

    class Handler(_Handler):
        state = served

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path).strip("/")
        self.state.requests.append(f"{self.command} {path}")
        if path.startswith("api/models/"):
            self._api(path.removeprefix("api/models/"))
        elif "/resolve/" in path:
            name, _, rest = path.partition("/resolve/")
            self._file(name, rest.partition("/")[2])
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        path = unquote(urlparse(self.path).path).strip("/").removeprefix("api/models/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = "/".join(path.split("/")[:2])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            answer = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self._answer(200, {"files": answer})
        elif "/commit/" in path:
            self._commit(name, body)
        elif "/paths-info/" in path and name in self.state.repositories:
            files = self.state.repositories[name]
            self._answer(200, self._info(files, json.loads(body)["paths"]))
        else:
            self._answer(404, {"error": "not found"})

    def _info(self, files: dict[str, bytes], paths: list[str]) -> list[dict[str, Any]]:
        found = [entry(path, files[path]) for path in paths if path in files]
        folders = [path for path in paths if any(name.startswith(f"{path}/") for name in files)]
        return found + [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]

    def _api(self, path: str) -> None:
        name, rest = "/".join(path.split("/")[:2]), path.split("/")[2:]
        if name not in self.state.repositories:
            self._answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
            return
        files, commit = self.state.repositories[name], self.state.commit(name)
        if rest[:1] == ["tree"]:
            below = "/".join(rest[2:])
            inside = [path for path in files if not below or path.startswith(f"{below}/")]
            self._answer(200, [entry(path, files[path]) for path in sorted(inside)])
        elif rest[:1] in ([], ["revision"]):
            siblings = [{"rfilename": path} for path in sorted(files)]
            about = {"id": name, "modelId": name, "sha": commit, "private": False, "tags": []}
            self._answer(200, {**about, "siblings": siblings, "downloads": 0, "likes": 0})
        elif rest[:1] == ["refs"]:
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit}
            self._answer(200, {"branches": [branch], "tags": [], "converts": []})
        else:
            self._answer(404, {"error": "not found"})

    def _file(self, name: str, path: str) -> None:
        data = self.state.repositories.get(name, {}).get(path)
        if data is None:
            self._answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
            return
        tag = etag(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.state.commit(name)}
        headers["Accept-Ranges"] = "bytes"
        if len(data) > LARGE:
            headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(data))}
        wanted, status = self.headers.get("Range"), 200
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = int(last) + 1 if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
            data, status = data[int(first) : stop], 206
        self._send(status, data, headers)

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                value = item["value"]
                self.state.repositories[name][value["path"]] = base64.b64decode(value["content"])
        commit = self.state.commit(name)
        where = {"commitUrl": f"{self.state.url}/{name}/commit/{commit}", "commitOid": commit}
        self._answer(200, {**where, "hookOutput": "", "success": True})

    def _answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(status, json.dumps(value).encode(), {**kind, **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
