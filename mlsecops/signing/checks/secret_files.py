"""Private keys and credentials among files that are to be signed, by content and by name.

names and sizes → first bytes of each file → kind of secret, or None

What is signed is published with the model. Files inside archives are not looked into.

Source: RFC 7468 (PEM), RFC 5958 (PKCS #8), RFC 8017 and RFC 5915 (RSA and EC keys), RFC 7292
(PKCS #12).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Final

from mlsecops._repr import printable
from mlsecops._secrets import secrets_in
from mlsecops.errors import UnsafeContent
from mlsecops.provenance.files import remote
from mlsecops.provenance.files.opening import followed, open_regular
from mlsecops.provenance.files.tree import ignore_paths, list_tree
from mlsecops.provenance.files.urls import is_url

_READ: Final = 1 << 20  # bytes of a file that are looked at; chosen: far above any key or settings
_SMALL: Final = 1 << 16  # bytes; chosen: larger files are no DER key and no credentials file
_LISTED: Final = 5  # files; chosen: a message of a few lines
_NAMES: Final = frozenset(
    [".env", ".netrc", "_netrc", ".pypirc", ".pgpass", ".git-credentials", ".dockercfg", ".s3cfg",
     ".boto", ".htpasswd", ".aws/credentials", ".docker/config.json", ".kube/config",
     ".huggingface/token", "huggingface/token", "kaggle.json", "id_rsa", "id_dsa", "id_ecdsa",
     "id_ed25519", "application_default_credentials.json"]
)  # fmt: skip
_EXAMPLES: Final = (".example", ".sample", ".template", ".dist")
_STORES: Final = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_NAMED: Final = re.compile(
    r"(?i)token|secret|credential|passw|auth|api.?key|\.(?:env|cfg|conf|ini)$"
)
_PEM: Final = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----(?:[\s\"',+]|\\[rn])*+"
    rb"(?:[A-Za-z-]{1,40}: [^\n\\]{0,200}(?:\n|\\[rn])++){0,8}+[\s\"',+]{0,20}[A-Za-z0-9+/=]{40}"
)
_WEB_KEY: Final = "a private JSON web key"
_TEXTS: Final = {
    "a PuTTY private key": re.compile(rb"\APuTTY-User-Key-File-\d"),
    "an age private key": re.compile(rb"AGE-SECRET-KEY-1[A-Z0-9]{40}"),
    _WEB_KEY: re.compile(rb'"d"\s*:\s*"[\w-]{40}'),
    "credentials": re.compile(rb'"private_key"\s*:\s*"-----BEGIN|"client_secret"\s*:\s*"[^"]{16}'),
    "a registry token": re.compile(rb"_authToken\s*=\s*[^\s$]{8}"),
    "AWS credentials": re.compile(
        rb"(?i)aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}"
    ),
    "a netrc password": re.compile(rb"(?m)^[ \t]*machine\s+\S+\s+login\s+\S+\s+password\s+\S"),
}
_SERVICES: Final = frozenset(
    ["GitHub token", "GitLab token", "Hugging Face token", "PyPI token", "Slack token", "API key",
     "Google key", "JSON web token", "password in an address"]
)  # fmt: skip
_PKCS12: Final = bytes.fromhex("06092a864886f70d0107")  # OID 1.2.840.113549.1.7, PKCS #7 contents
_ENCRYPTED: Final = tuple(map(bytes.fromhex, ("06092a864886f70d0105", "060a2a864886f70d010c01")))
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04  # tags; X.690, section 8


def require_no_secrets(
    path: str | os.PathLike[str], ignore: Iterable[str], *, include: bool = False
) -> None:
    """Demand that no file to be signed is a private key or holds credentials.

    Args:
        path: Folder or file.
        ignore: Relative paths that are not signed.
        include: Whether the caller wants them signed.

    Raises:
        UnsafeContent: One is; the message names each.
    """
    if include:
        return
    if is_url(path):
        _refuse(path, _in_objects(path, ignore_paths(ignore)))
        return
    root = Path(followed(path))
    files = (
        {root.name: root}
        if root.is_file()
        else {
            name: Path(found.path)
            for name, found in list_tree(root, ignore=ignore_paths(ignore)).files.items()
        }
    )
    found = [
        (name, kind) for name, file in files.items() if (kind := _kind_at(file, name)) is not None
    ]
    _refuse(path, found)


def _refuse(path: str | os.PathLike[str], found: Sequence[tuple[str, str]]) -> None:
    if found:
        listed = "; ".join(f"{printable(name)} ({kind})" for name, kind in found[:_LISTED])
        more = "" if len(found) <= _LISTED else f" and {len(found) - _LISTED} more"
        raise UnsafeContent(
            f"{os.fspath(path)}: expected no private key or credentials to sign, got "
            f"{listed}{more}; move them away, leave them out with --ignore, or sign them with "
            "--include-secrets (include_secrets=True)",
            rule="secret-file",
            where=found[0][0],
        )


def secret_kind(name: str, data: bytes, *, size: int | None = None) -> str | None:
    """Kind of secret that a file is, or None.

    Args:
        name: Its relative path.
        data: Its first bytes.
        size: Its size in bytes; that of `data` by default.

    Examples:
        >>> secret_kind("settings/.env", b"A=1")
        'a file of credentials'
    """
    if _secret_name(name):
        return "a file of credentials"
    text = _utf8(data)
    if _PEM.search(text):
        return "a private key"
    if (len(data) if size is None else size) > _SMALL:
        return None
    if _der(data) or _der(_decoded(text)):
        return "a private key"
    kinds = {kind for kind, pattern in _TEXTS.items() if pattern.search(text)}
    if b'"kty"' not in text:
        kinds.discard(_WEB_KEY)
    return min(kinds, default=None) or _token(name, text)


def _in_objects(url: str, ignore: Iterable[str]) -> list[tuple[str, str]]:
    """Names and kinds of secrets among the objects below a URL."""
    objects, _, _ = remote.list_objects(url, ignore=tuple(ignore))

    def look(item: tuple[str, remote.RemoteFile]) -> tuple[str, str | None]:
        name, file = item
        return name, secret_kind(name, remote.read_object(file.url, most=_READ), size=file.size)

    with ThreadPoolExecutor(remote.THREADS) as pool:
        return [(name, kind) for name, kind in pool.map(look, sorted(objects.items())) if kind]


def _kind_at(place: Path, name: str) -> str | None:
    with os.fdopen(open_regular(place), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        return secret_kind(name, stream.read(_READ), size=size)


def _secret_name(name: str) -> bool:
    parts = PurePosixPath(name.lower()).parts
    last, inner = parts[-1] if parts else "", "/".join(parts[-2:])
    settings = last.startswith(".env.") and not last.endswith(_EXAMPLES)
    return settings or last in _NAMES or inner in _NAMES or last.endswith(_STORES)


def _token(name: str, text: bytes) -> str | None:
    """Tokens of known services: alone in a file, or in one whose name announces credentials."""
    words = text.decode("utf-8", "replace").strip()
    alone = len(words) < _READ and len(words.split()) == 1
    if alone or _NAMED.search(PurePosixPath(name).name):
        kinds = _SERVICES.intersection(secrets_in(words))
        return f"a file of credentials: {min(kinds)}" if kinds else None
    return None


def _utf8(data: bytes) -> bytes:
    """Text of UTF-16, as some shells write files, in UTF-8; other bytes as they are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").encode("utf-8", "replace")
    return data


def _decoded(text: bytes) -> bytes:
    """Bytes of a file that is base64 throughout, or none."""
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _der(data: bytes) -> bool:
    """Whether bytes begin with a private key or a PKCS #12 store in DER or BER."""
    if data.startswith(b"\xfe\xed\xfe\xed"):  # a Java key store
        return True
    tag, body = _element(data)
    if tag != _SEQUENCE:
        return False
    tag, first = _element(body)
    rest = _after(body)
    if tag == _SEQUENCE:
        return first.startswith(_ENCRYPTED)
    if tag != _INTEGER or first not in {b"\0", b"\1", b"\3"}:
        return False
    tag, second = _element(rest)
    if first == b"\3":
        return tag == _SEQUENCE and second.startswith(_PKCS12)
    if tag == _SEQUENCE:  # PKCS #8: algorithm, then the key
        return second[:1] == b"\x06" and _element(_after(rest))[0] == _OCTETS
    if tag == _INTEGER:  # PKCS #1: version 0, then the modulus
        return first == b"\0" and len(second) >= 64  # noqa: PLR2004 - bytes of a 512-bit modulus
    return tag == _OCTETS and first == b"\1" and len(second) >= 20  # noqa: PLR2004 - the smallest curve


def _element(data: bytes) -> tuple[int, bytes]:
    """Tag and contents of the first element; (-1, nothing) if there is none."""
    begin, end = _span(data)
    return (data[0], data[begin:end]) if begin else (-1, b"")


def _after(data: bytes) -> bytes:
    return data[_span(data)[1] :]


def _span(data: bytes) -> tuple[int, int]:
    """Where the contents of the first element begin and end; (0, 0) if there is none."""
    if len(data) < 2:  # noqa: PLR2004 - a tag and a length
        return 0, 0
    length, begin = data[1], 2
    if length == 0x80:  # BER's indefinite length  # noqa: PLR2004
        return begin, len(data)
    if length > 0x80:  # noqa: PLR2004 - the long form
        begin += length & 0x7F
        length = int.from_bytes(data[2:begin], "big")
    end = begin + length
    return (begin, end) if begin <= len(data) and end <= len(data) else (0, 0)
