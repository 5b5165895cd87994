"""Object store in a bucket of S3, Google Cloud Storage or Azure.

URL and options → obstore's store → conditional requests; its exceptions → `OSError`

Source: HTTP conditional requests, RFC 9110, section 13 (`If-None-Match: *`, `If-Match`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mlsecops._choices import of_type
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.audit.objects.protocol import UNCHANGED, Stored, require_key
from mlsecops.errors import UsageError

__all__ = ["BucketStore"]

_STREAMS: Final = 16  # requests in flight; chosen: under the connections that obstore keeps open
_TIMEOUT: Final = "30s"  # of one request; obstore's default
_RETRIES: Final = 3  # of one request; chosen: an outage is an error within about a minute
_LARGE: Final = 8 << 20  # bytes of a part; chosen: S3 takes 10,000 parts of at least 5 MiB


@concise_repr("where")
class BucketStore:
    """Objects of a bucket under a prefix.

    Use it in the process that opened it: the connection pool does not survive `fork`.

    Args:
        url: `s3://bucket/prefix`, `gs://…` or `az://…`.
        options: obstore's options; AWS_* variables and the like where they say nothing.

    Raises:
        UsageError: An option is unknown or wrong.
        MissingExtra: obstore is not installed.
    """

    streams = _STREAMS

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.where = url
        self._asks_for_version = urlsplit(url).scheme == "gs"
        self._module = require("obstore")
        errors = require("obstore.exceptions")
        settings = _settings(url, options)
        try:
            self._store = require("obstore.store").from_url(url, **settings)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise  # obstore panics at an option of another kind of bucket
            raise UsageError(f"storage_options: cannot open {url}: {_first(error)}") from error
        self._errors = errors
        self._process = os.getpid()

    def get(self, key: str, *, most: int) -> Stored | None:
        """An object."""
        return self._get(key, most, {})

    def get_if_changed(self, key: str, tag: str, *, most: int) -> Stored | None:
        """An object, unless it has the tag: one request, answered 304 without a body."""
        return self._get(key, most, {"if_none_match": _parts(tag)[0]})

    def put_if_absent(
        self,
        key: str,
        data: bytes,
        *,
        lasting: bool = True,  # noqa: ARG002 - as the protocol
    ) -> str | None:
        """Store an object with `If-None-Match: *`."""
        return self._put(key, data, "create")

    def put_if_unchanged(
        self,
        key: str,
        data: bytes,
        tag: str,
        *,
        lasting: bool = True,  # noqa: ARG002 - as the protocol
    ) -> str | None:
        """Replace an object with `If-Match`, or Google's `x-goog-if-generation-match`."""
        e_tag, version = _parts(tag)
        if self._asks_for_version and not version and require_key(key):
            return None  # no object there has such a tag
        return self._put(key, data, {"e_tag": e_tag, **({"version": version} if version else {})})

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with a text; a listing goes by folders."""
        folder, _, _ = prefix.rpartition("/")
        with self._translated(prefix):
            for batch in self._module.list(self._store, folder or None):
                yield from (each["path"] for each in batch if each["path"].startswith(prefix))

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes."""
        with self._translated(key):
            yield from map(bytes, self._module.get(self._store, key).stream(_LARGE))

    def upload(self, key: str, source: Path) -> None:
        """Store a file, in parts where it is large."""
        with self._translated(key):
            self._module.put(self._store, require_key(key), source, chunk_size=_LARGE)

    def _get(self, key: str, most: int, options: dict[str, Any]) -> Stored | None:
        try:
            with self._translated(key):
                found = self._module.get(self._store, key, options=options)
                if found.meta["size"] > most:
                    raise OSError(
                        errno.EFBIG,
                        f"expected at most {most} bytes, got {found.meta['size']}",
                        f"{self.where}/{key}",
                    )
                return Stored(bytes(found.bytes()), self._tag(key, found.meta))
        except FileNotFoundError:
            return None
        except self._errors.NotModifiedError:
            return UNCHANGED

    def _put(self, key: str, data: bytes, mode: object) -> str | None:
        try:
            with self._translated(key):
                done = self._module.put(
                    self._store, require_key(key), data, mode=mode, use_multipart=False
                )
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
            return None
        except FileNotFoundError:  # S3 answers 404 to If-Match where there is no object
            if mode == "create":
                raise
            return None
        return self._tag(key, done)

    def _tag(self, key: str, about: Mapping[str, Any]) -> str:
        """ETag and version, where there is one; Google asks for the version in a condition.

        RFC 9110, section 13.1.1: `If-Match` never holds for a weak ETag.
        """
        tag, version = about["e_tag"], about.get("version")
        if not tag or tag.startswith("W/"):
            raise OSError(
                errno.ENOTSUP,
                f"expected a strong ETag, got {tag}; the store, or a proxy before it, offers no "
                "conditional writes",
                f"{self.where}/{key}",
            )
        return f"{tag}\n{version}" if version else str(tag)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn obstore's exceptions into `OSError`, except those that answer a condition."""
        if os.getpid() != self._process:
            raise OSError(
                errno.ENOTSUP,
                "opened before fork; open the registry in the new process",
                self.where,
            )
        errors = self._errors
        try:
            yield
        except (errors.AlreadyExistsError, errors.PreconditionError, errors.NotModifiedError):
            raise
        except (errors.NotFoundError, FileNotFoundError) as error:
            missing = errno.ENOENT, "no such object", f"{self.where}/{key}"
            raise FileNotFoundError(*missing) from error
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise PermissionError(errno.EACCES, _first(error), f"{self.where}/{key}") from error
        except errors.BaseError as error:
            raise OSError(errno.EIO, _first(error), f"{self.where}/{key}") from error


def _settings(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Obstore's options with ours as defaults."""
    settings = {"retry_config": {"max_retries": _RETRIES}, **options}
    given = of_type("storage_options client_options", settings.get("client_options", {}), dict,
                    "options of its HTTP client")  # fmt: skip
    client = {"timeout": _TIMEOUT, **given}
    if urlsplit(url).scheme in {"s3", "s3a"}:
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        endpoint = next((os.environ[name] for name in names if os.environ.get(name)), None)
        if endpoint is not None:
            settings.setdefault("endpoint", endpoint)
        if str(settings.get("endpoint")).startswith("http://"):  # as boto3: the operator wrote it
            client.setdefault("allow_http", True)
        # AWS: "Content-MD5 OR x-amz-checksum- HTTP header is required" under a default retention
        if not any("checksum_algorithm" in name.lower() for name in settings):
            settings["checksum_algorithm"] = "SHA256"
    settings["client_options"] = client
    return settings


def _parts(tag: str) -> tuple[str, str]:
    """ETag and version of a tag."""
    e_tag, _, version = tag.partition("\n")
    return e_tag, version


def _first(error: BaseException) -> str:
    """First line of a message; obstore adds a debug form that can hold a whole response."""
    return str(error).partition("\n")[0][:300]
