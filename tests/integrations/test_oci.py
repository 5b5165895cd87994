"""Models in OCI registries: Debian's, which lacks the referrers API, and a stand-in that has it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import SecureLoader, Signer, TrustPolicy, sign
from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    LimitExceeded,
    MalformedBundle,
    RegistryError,
    SignatureMissing,
    ThresholdNotMet,
    UnsafeContent,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.oci import attach, attached, verify_artifact
from tests.conftest import program
from tests.services import free_port, serving

provider = pytest.importorskip("oras.provider")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def packed_weights() -> bytes:
    written = io.BytesIO()
    np.savez(written, w=np.zeros((20, 30)))
    return written.getvalue()


FILES = {"config.json": b"{}", "sub/weights.npz": packed_weights(), "README.md": b"# model\n"}


class Standin(BaseHTTPRequestHandler):
    """OCI distribution 1.1 in memory, with the referrers API."""

    blobs: dict[str, bytes]
    manifests: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, name = self.path.partition("?")[0].split("/")[-2:]
        if kind == "referrers":
            entries = [
                {"mediaType": MANIFEST, "digest": digest, "size": len(data),
                 "artifactType": json.loads(data).get("artifactType")}
                for digest, data in self.manifests.items()
                if digest.startswith("sha256:")
                and (json.loads(data).get("subject") or {}).get("digest") == name
            ]  # fmt: skip
            self.answer(200, json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
            return
        found = (self.manifests if kind == "manifests" else self.blobs).get(name)
        self.answer(404) if found is None else self.answer(200, found, Content_Type=MANIFEST)

    def do_POST(self) -> None:
        self.body()
        self.answer(202, Location=f"{self.path}upload")

    def do_PUT(self) -> None:
        data = self.body()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if "/manifests/" not in self.path:
            self.blobs[digest] = data
            self.answer(201)
            return
        self.manifests[self.path.rpartition("/")[2]] = self.manifests[digest] = data
        subject = (json.loads(data).get("subject") or {}).get("digest")
        self.answer(201, **({"OCI_Subject": subject} if subject else {}))


@contextlib.contextmanager
def standin() -> Iterator[tuple[str, type[Standin]]]:
    handler = type("Handler", (Standin,), {"blobs": {}, "manifests": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def debian(tmp_path_factory: Any) -> Iterator[str]:
    place, port = tmp_path_factory.mktemp("registry"), free_port()
    (place / "config.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {place}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    with serving([program("docker-registry"), "serve", str(place / "config.yml")], port):
        yield f"127.0.0.1:{port}"


@pytest.fixture(params=["debian", "referrers"])
def registry(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "debian":
        yield request.getfixturevalue("debian")
    else:
        with standin() as (address, _):
            yield address


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.partition("[")[0])[:60].strip("-")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        place = tmp_path / "fraud" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return tmp_path / "fraud"


def push(
    address: str, reference: str, files: dict[str, bytes], *, tar: bool = False, **edits: Any
) -> str:
    """Push a model as ModelPack does, by the oras client; return its reference."""
    client = provider.Registry(insecure=True)
    place = client.get_container(f"{address}/{reference}")
    layers = [layer(client, place, name, data, tar=tar) for name, data in files.items()]
    config = blob(client, place, b"{}", "application/vnd.cncf.model.config.v1+json")
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json", **edits,
    }  # fmt: skip
    assert client.upload_manifest(manifest, place).status_code == 201
    return f"{address}/{reference}"


def layer(client: Any, place: Any, name: str, data: bytes, *, tar: bool) -> dict[str, Any]:
    if tar:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        return blob(
            client, place, packed.getvalue(), "application/vnd.cncf.model.weight.v1.tar+gzip"
        )
    about = blob(client, place, data, "application/vnd.cncf.model.weight.v1.raw")
    return {**about, "annotations": {"org.cncf.model.filepath": name}}


def blob(client: Any, place: Any, data: bytes, kind: str, folder: Path | None = None) -> Any:
    import tempfile  # noqa: PLC0415 - the client uploads files

    about = {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
             "size": len(data)}  # fmt: skip
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(data)
        file.flush()
        client.upload_blob(file.name, place, about)
    return about


@pytest.mark.parametrize("tar", [False, True], ids=["files", "archives"])
def test_a_pushed_and_signed_model_verifies_and_loads(
    registry: str, name: str, *, tar: bool, model: Path, signer: Signer, policy: TrustPolicy,
    tmp_path: Path,
) -> None:  # fmt: skip
    reference = push(registry, f"{name}/fraud:{'tar' if tar else 'raw'}", FILES, tar=tar)
    assert attach(reference, sign(model, signer), insecure=True).startswith("sha256:")
    assert len(attached(reference, insecure=True)) == 1
    into = tmp_path / "got" / "fraud"
    into.parent.mkdir()
    verified = verify_artifact(reference, policy=policy, into=into, insecure=True)
    assert (verified.name, len(verified.manifest)) == ("fraud", 3)
    assert {path: (into / path).read_bytes() for path in FILES} == FILES
    assert [path.name for path in into.parent.iterdir()] == ["fraud"]
    with SecureLoader(policy).hold(into) as held:
        assert held is not None
    with pytest.raises(UsageError, match="exists"):
        verify_artifact(reference, policy=policy, into=into, insecure=True)


def test_files_that_were_not_signed_are_refused_by_name(  # noqa: PLR0917 - fixtures
    registry: str, name: str, model: Path, signer: Signer, policy: TrustPolicy, tmp_path: Path
) -> None:
    bundle = sign(model, signer)
    for tag, files, where in (
        ("edited", {**FILES, "config.json": b"[]"}, "changed 'config.json'"),
        ("added", {**FILES, "evil.py": b"print()"}, "added 'evil.py'"),
        ("removed", {"config.json": b"{}"}, "removed"),
    ):
        reference = push(registry, f"{name}/fraud:{tag}", files)
        attach(reference, bundle, insecure=True)
        with pytest.raises(DigestMismatch, match=re.escape(where)):
            verify_artifact(reference, policy=policy, into=tmp_path / tag, insecure=True)
        assert not (tmp_path / tag).exists()


def test_an_artifact_without_a_trusted_bundle_is_refused_and_a_second_bundle_helps(
    registry: str, name: str, model: Path, signer: Signer, policy: TrustPolicy
) -> None:
    reference = push(registry, f"{name}/fraud:1", FILES)
    with pytest.raises(SignatureMissing, match="attach"):
        verify_artifact(reference, policy=policy, insecure=True)
    attach(reference, sign(model, Signer.generate()), insecure=True)
    with pytest.raises(UntrustedSigner):
        verify_artifact(reference, policy=policy, insecure=True)
    attach(reference, sign(model, signer, replace=True), insecure=True)
    assert verify_artifact(reference, policy=policy, insecure=True).name == "fraud"
    assert len(attached(reference, insecure=True)) == 2
    both = TrustPolicy(keys=[signer.public_key, Signer.generate().public_key], threshold=2)
    with pytest.raises(ThresholdNotMet):
        verify_artifact(reference, policy=both, insecure=True)


def test_a_bundle_of_another_artifact_is_not_that_of_this_one(
    registry: str, name: str, model: Path, signer: Signer, policy: TrustPolicy
) -> None:
    attach(push(registry, f"{name}/fraud:1", FILES), sign(model, signer), insecure=True)
    other = push(registry, f"{name}/fraud:2", {"config.json": b"[]"})
    with pytest.raises(SignatureMissing):
        verify_artifact(other, policy=policy, insecure=True)
    scoped = TrustPolicy(keys=[signer.public_key])
    with pytest.raises(UntrustedSigner, match="billing"):
        verify_artifact(f"{registry}/{name}/fraud:1", policy=scoped, name="billing", insecure=True)


def hostile(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info, io.BytesIO(b""))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "kind", "title", "error"),
    [
        (b"x", "raw", "../evil", UnsafeContent),
        (b"x", "raw", "/etc/evil", UnsafeContent),
        (b"x", "raw", None, FormatRefused),
        (hostile("../evil"), "tar", None, UnsafeContent),
        (hostile("link", tarfile.SYMTYPE), "tar", None, UnsafeContent),
        (hostile("hard", tarfile.LNKTYPE), "tar", None, UnsafeContent),
        (hostile("device", tarfile.CHRTYPE), "tar", None, UnsafeContent),
        (b"nonsense", "tar", None, FormatRefused),
    ],
    ids=["parent", "absolute", "no name", "tar parent", "symlink", "hard link", "device", "no tar"],
)
def test_hostile_layers_are_refused(  # noqa: PLR0917 - fixtures
    name: str, policy: TrustPolicy, data: bytes, kind: str, title: Any, error: Any
) -> None:
    with standin() as (address, _):
        client = provider.Registry(insecure=True)
        place = client.get_container(f"{address}/{name}/fraud:1")
        about = blob(client, place, data, f"application/vnd.cncf.model.weight.v1.{kind}")
        notes = {} if title is None else {"org.cncf.model.filepath": title}
        reference = push(address, f"{name}/fraud:1", {}, layers=[{**about, "annotations": notes}])
        with pytest.raises(error):
            verify_artifact(reference, policy=policy, insecure=True)


def test_a_registry_that_serves_other_bytes_is_refused(
    name: str, model: Path, signer: Signer, policy: TrustPolicy
) -> None:
    with standin() as (address, handler):
        reference = push(address, f"{name}/fraud:1", FILES)
        attach(reference, sign(model, signer), insecure=True)
        [digest] = [key for key, data in handler.blobs.items() if data == FILES["README.md"]]
        handler.blobs[digest] = b"# evil\n"
        with pytest.raises(DigestMismatch, match="other content"):
            verify_artifact(reference, policy=policy, insecure=True)
        handler.blobs[digest] = FILES["README.md"]
        pinned = f"{address}/{name}/fraud@{next(d for d in handler.manifests if d[:3] == 'sha')}"
        verify_artifact(pinned, policy=policy, insecure=True)
        key = pinned.partition("@")[2]
        handler.manifests[key] = handler.manifests[key].replace(b"README", b"README2")
        with pytest.raises(DigestMismatch, match="other content"):
            verify_artifact(pinned, policy=policy, insecure=True)


def test_limits_wrong_references_and_absent_registries_are_named(
    name: str, model: Path, signer: Signer, policy: TrustPolicy, tmp_path: Path
) -> None:
    with standin() as (address, _):
        reference = push(address, f"{name}/fraud:1", FILES, tar=True)
        with pytest.raises(LimitExceeded, match="max_bytes"):
            verify_artifact(reference, policy=policy, insecure=True, max_bytes=1000)
        with pytest.raises(RegistryError, match="push it first"):
            verify_artifact(f"{address}/{name}/fraud:absent", policy=policy, insecure=True)
        (tmp_path / "bad.sig").write_text("{}")
        with pytest.raises(MalformedBundle):
            attach(reference, tmp_path / "bad.sig", insecure=True)
    with pytest.raises(UsageError, match="registry/repository"):
        verify_artifact("", policy=policy)
    assert sign(model, signer)
