"""Key and certificate files: PEM and OpenSSH bytes, bounded, decrypted where needed.

path or text → bytes → private key or certificates

Source: RFC 7468 (PEM); PROTOCOL.key of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from mlsecops._choices import path_of
from mlsecops._extras import require
from mlsecops.errors import UsageError

MAX_KEY_BYTES: Final = 1 << 20  # bytes; chosen: a larger file is not read as PEM
Password: TypeAlias = str | bytes | Callable[[], str | bytes]
_OPENSSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_LABEL: Final = re.compile(b"-----BEGIN ([A-Z0-9 ]{1,40})-----")  # RFC 7468, section 2
_PLAIN_OPENSSH: Final = b"openssh-key-v1\0\0\0\0\4none"  # begin of a key with the cipher "none"


def read_pem(source: str | bytes | os.PathLike[str]) -> bytes:
    """PEM bytes from text, bytes or a file.

    Raises:
        UsageError: The file cannot be opened or is too large to be a key.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and "-----BEGIN" in source:
        return source.encode()
    place = path_of("key or certificate", source)
    try:
        with place.open("rb") as stream:
            data = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror}") from error
    if len(data) > MAX_KEY_BYTES:
        raise UsageError(f"{place}: expected a PEM file of at most {MAX_KEY_BYTES} bytes")
    return data


def load_certificates(
    source: str | bytes | os.PathLike[str],
) -> tuple[x509.Certificate, ...]:
    """Certificates from PEM, in their order.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    pem = read_pem(source)
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(
            f"{shown_source(source)}: expected certificates in PEM, got {content_of(pem)}"
        ) from error


def read_private_key(source: os.PathLike[str], password: Password | None) -> Any:
    """The private key in a PEM or OpenSSH file.

    Args:
        source: The file.
        password: Password of an encrypted key, or a function that asks for it.

    Raises:
        UsageError: It cannot be read or decrypted.
        MissingExtra: An encrypted OpenSSH key needs the `ssh` extra.
    """
    pem = read_pem(source)
    ssh = _OPENSSH in pem
    encrypted = not _is_plain_openssh(pem) if ssh else b"ENCRYPTED" in pem
    if callable(password):
        # Nobody is asked for the password of a key that has none.
        password = password() if encrypted else None
    secret = password.encode() if isinstance(password, str) else password
    if ssh and encrypted:
        require("bcrypt")
    load = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    try:
        return load(pem, secret)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        why = f": {error}" if b"PRIVATE KEY-----" in pem else "; mlsecops keygen makes one"
        raise UsageError(
            f"cannot read private key {os.fspath(source)}: expected a private key in PEM or "
            f"OpenSSH form, got {content_of(pem)}{why}"
        ) from error


def content_of(pem: bytes) -> str:
    """What a PEM file holds, by its first label; never its content, which may be secret.

    Examples:
        >>> content_of(b"-----BEGIN PUBLIC KEY-----"), content_of(b"hello")
        ("'PUBLIC KEY'", 'no PEM')
    """
    found = _LABEL.search(pem)
    return repr(found.group(1).decode()) if found else "no PEM"


def shown_source(source: object) -> str:
    """A path for messages, but never the PEM itself, which may be secret."""
    text = os.fspath(source) if isinstance(source, os.PathLike) else source
    return text if isinstance(text, str) and "-----BEGIN" not in text else "the PEM"


def _is_plain_openssh(pem: bytes) -> bool:
    body = pem.partition(_OPENSSH)[2].partition(b"-----END")[0]
    try:
        return base64.b64decode(b"".join(body.split())).startswith(_PLAIN_OPENSSH)
    except binascii.Error:
        return False
