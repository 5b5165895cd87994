"""Client of an OCI registry: manifests, blobs and referrers, each held to its digest.

reference → manifest and its digest → referrers (the interface, or the fallback tag) → bundles

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlsecops._extras import require
from mlsecops._json import parse_object
from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    LimitExceeded,
    MLSecOpsError,
    RegistryError,
    UsageError,
)
from mlsecops.signing.bundle import MAX_BUNDLE_BYTES, MEDIA_TYPE

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MAX_MANIFEST: Final = 4 << 20  # bytes; OCI distribution specification 1.1, limit of manifests
_MAX_BUNDLES: Final = 32  # bundles of one artifact; chosen: bounds the work of a verification
_CHUNK: Final = 1 << 20  # bytes; chosen: a part of a download


class OciRegistry:
    """The part of an OCI registry's interface that an artifact's signatures need."""

    def __init__(self, reference: str, *, insecure: bool) -> None:
        provider, container = require("oras.provider"), require("oras.container")
        self.reference = reference
        try:
            self._place = container.Container(reference.removeprefix("oci://"))
        except ValueError as error:
            raise UsageError(
                f"{reference}: expected registry/repository:tag or …@sha256:…: {error}"
            ) from error
        self.name = str(self._place.repository)
        self._client = provider.Registry(insecure=insecure)
        self._base = f"{self._client.prefix}://{self._place.registry}/v2/{self._place.api_prefix}"
        with self._errors():
            self._client.auth.load_configs(self._place)

    def manifest(self) -> tuple[str, int, Mapping[str, Any]]:
        """Digest, size and content of the artifact's manifest."""
        data = self._manifest(self._place.digest or self._place.tag)
        if data is None:
            raise RegistryError(f"{self.reference}: expected an artifact, got none; push it first")
        digest = _digest(data)
        value = _parsed(data, self.reference)
        if value.get("mediaType", MANIFEST) != MANIFEST:
            raise FormatRefused(
                f"{self.reference}: expected an OCI image manifest, got {value.get('mediaType')!r}"
            )
        return digest, len(data), value

    def bundles(self, subject: str) -> list[bytes]:
        """Bytes of the bundles that refer to a manifest, in the registry's order."""
        found = []
        for entry in self._referrers(subject):
            if entry.get("artifactType") not in {MEDIA_TYPE, None}:
                continue
            data = self._manifest(str(entry.get("digest")))
            value = {} if data is None else _parsed(data, self.reference)
            about = value.get("subject")
            same = isinstance(about, dict) and about.get("digest") == subject
            if value.get("artifactType") != MEDIA_TYPE or not same:
                continue
            for layer in value.get("layers") or ():
                digest, _, _ = described_layer(layer, self.reference)
                with tempfile.TemporaryFile() as held:
                    self.fetch(digest, held, most=MAX_BUNDLE_BYTES)
                    held.seek(0)
                    found.append(held.read())
            if len(found) > _MAX_BUNDLES:
                raise LimitExceeded(f"{self.reference}: expected at most {_MAX_BUNDLES} bundles")
        return found

    def push(self, data: bytes, kind: str) -> dict[str, Any]:
        """Upload a blob; return its descriptor."""
        descriptor = {"mediaType": kind, "digest": _digest(data), "size": len(data)}
        with tempfile.NamedTemporaryFile() as file, self._errors():
            file.write(data)
            file.flush()
            answer = self._client.upload_blob(file.name, self._place, descriptor)
        self._require(answer, 200, 201, 202)
        return descriptor

    def refer(self, value: Mapping[str, Any], subject: str) -> str:
        """Upload a manifest with a subject, and list it where the registry itself does not."""
        data = json.dumps(value, separators=(",", ":")).encode()
        digest = _digest(data)
        answer = self._put(digest, data, MANIFEST)
        if answer.headers.get("OCI-Subject") != subject:
            entry = {"mediaType": MANIFEST, "digest": digest, "size": len(data),
                     "artifactType": MEDIA_TYPE}  # fmt: skip
            known = [each for each in self._listed(subject) if each.get("digest") != digest]
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*known, entry]}
            text = json.dumps(index, separators=(",", ":")).encode()
            self._put(_fallback_tag(subject), text, _INDEX)
        return digest

    def fetch(self, digest: str, into: Any, *, most: int) -> None:
        """Download a blob and demand that it has its digest."""
        algorithm, _, expected = digest.partition(":")
        if algorithm not in {"sha256", "sha512"}:
            raise FormatRefused(f"{self.reference}: expected a SHA-2 digest, got {digest!r}")
        running, size = hashlib.new(algorithm), 0
        with self._errors():
            answer = self._client.get_blob(self._place, digest, stream=True)
            self._require(answer, 200)
            for chunk in answer.iter_content(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise LimitExceeded(f"{self.reference}: {digest}: more than {most} bytes")
                running.update(chunk)
                into.write(chunk)
        if running.hexdigest() != expected:
            raise DigestMismatch(
                f"{self.reference}: expected the bytes of {digest}, got {running.hexdigest()}: "
                "the registry serves other content",
                changed=[digest],
            )

    def _referrers(self, subject: str) -> list[dict[str, Any]]:
        with self._errors():
            answer = self._client.do_request(f"{self._base}/referrers/{subject}", "GET")
        if answer.status_code != 200:  # noqa: PLR2004 - HTTP
            return self._listed(subject)
        return _entries(answer.content[: _MAX_MANIFEST + 1], self.reference)

    def _listed(self, subject: str) -> list[dict[str, Any]]:
        """Entries of the index that registries without the referrers API hold."""
        data = self._manifest(_fallback_tag(subject), kind=_INDEX)
        return [] if data is None else _entries(data, self.reference)

    def _manifest(self, reference: str, *, kind: str = MANIFEST) -> bytes | None:
        url = f"{self._base}/manifests/{reference}"
        with self._errors():
            answer = self._client.do_request(url, "GET", headers={"Accept": f"{kind}, {_INDEX}"})
        if answer.status_code == 404:  # noqa: PLR2004 - HTTP
            return None
        self._require(answer, 200)
        data: bytes = answer.content
        if reference.startswith("sha256:") and _digest(data) != reference:
            raise DigestMismatch(
                f"{self.reference}: expected the manifest {reference}, got {_digest(data)}: the "
                "registry serves other content",
                changed=[reference],
            )
        return data

    def _put(self, reference: str, data: bytes, kind: str) -> Any:
        with self._errors():
            answer = self._client.do_request(
                f"{self._base}/manifests/{reference}", "PUT", data=data,
                headers={"Content-Type": kind},
            )  # fmt: skip
        self._require(answer, 201)
        return answer

    def _require(self, answer: Any, *expected: int) -> None:
        if answer.status_code not in expected:
            raise RegistryError(
                f"{self.reference}: the registry answered {answer.status_code} "
                f"{str(answer.reason)[:200]}; check the name, and log in where it needs that"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MLSecOpsError:
            raise
        except Exception as error:  # the client raises errors of several libraries
            raise RegistryError(
                f"{self.reference}: {type(error).__name__}: {error}"[:500]
            ) from error


def described_layer(layer: Any, where: str) -> tuple[str, str, Mapping[str, Any]]:
    """Digest, media type and annotations of a layer."""
    if not isinstance(layer, dict) or not isinstance(layer.get("digest"), str):
        raise FormatRefused(f"{where}: expected layers with digests, got {layer!r}"[:300])
    notes = layer.get("annotations") or {}
    return (
        layer["digest"],
        str(layer.get("mediaType", "")),
        notes if isinstance(notes, dict) else {},
    )


def _entries(data: bytes, where: str) -> list[dict[str, Any]]:
    entries = _parsed(data, where).get("manifests")
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    return parse_object(data, what=where, error=FormatRefused, most=_MAX_MANIFEST)


def _fallback_tag(subject: str) -> str:
    return subject.replace(":", "-", 1)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
