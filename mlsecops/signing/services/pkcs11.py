"""PKCS #11 device: a key in a token or HSM, named by a URI.

`pkcs11:` URI → module → token → session → signature by the digest

Source: RFC 7512 (URI); PKCS #11 v3.0, 2.3 (ECDSA: r‖s) and 2.1 (RSA-PSS).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.signing.services.formats import der_signature, pem_of_der, pem_of_modulus

Pin: TypeAlias = "str | bytes | Callable[[], str | bytes] | None"

_PATH: Final = {
    "token", "manufacturer", "serial", "model", "library-manufacturer", "library-version",
    "library-description", "object", "type", "id", "slot-description", "slot-manufacturer",
    "slot-id",
}  # fmt: skip
_QUERY: Final = {"pin-source", "pin-value", "module-name", "module-path"}
_TOKEN: Final = {"token": "label", "manufacturer": "manufacturer_id", "model": "model",
                 "serial": "serial"}  # fmt: skip
_MODULE: Final = "PKCS11_MODULE_PATH"
_FOLDERS: Final = (
    "/usr/lib/softhsm", "/usr/lib/pkcs11", "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/pkcs11", "/usr/lib/aarch64-linux-gnu/softhsm",
    "/usr/lib64/pkcs11", "/usr/local/lib/softhsm", "/usr/local/lib",
)  # fmt: skip
_PIN_BYTES: Final = 4096  # bytes; chosen: a longer file holds no PIN
_OWN_SYMBOLS: Final = os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0)
"""Flags that bind a module to its own libraries: TensorFlow exports an OpenSSL of another kind to
the whole process, and a module that called into it would crash."""
_USE: Final = threading.Lock()  # a module's log-in is one for the whole process (PKCS #11, 5.6)


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A private key in a token; `name` is the URI without its PIN."""

    name: str
    token: Any = field(repr=False)
    pin: str | None = field(repr=False)
    wanted: Mapping[str, bytes]
    pem: str = ""

    def sign(self, data: bytes, digest: bytes | None) -> bytes:
        """Signature by the digest; the device converts nothing but its numbers."""
        if digest is None:
            raise UsageError(
                f"{self.name}: expected an ECDSA or RSA key, got another, for a payload of "
                f"{len(data)} bytes"
            )
        api = require("pkcs11")
        with self.session() as session:
            key = self.one(session, api.ObjectClass.PRIVATE_KEY)
            if key.key_type == api.KeyType.RSA:
                pss = (api.Mechanism.SHA256, api.MGF.SHA256, len(digest))
                answer = key.sign(digest, mechanism=api.Mechanism.RSA_PKCS_PSS, mechanism_param=pss)
                return bytes(answer)
            return der_signature(bytes(key.sign(digest, mechanism=api.Mechanism.ECDSA)))

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A session of the token, logged in if there is a PIN.

        Raises:
            UsageError: The device refuses.
        """
        errors = require("pkcs11.exceptions")
        try:
            with _USE, self._opened() as session:
                yield session
        except errors.PKCS11Error as error:
            said = type(error).__name__ + (f": {error}" if str(error) else "")
            raise UsageError(f"{self.name}: the device does not sign: {said}") from error

    def _opened(self) -> Any:
        if self.pin is None:
            return self.token.open()
        try:
            return self.token.open(user_pin=self.pin)
        except require("pkcs11.exceptions").UserAlreadyLoggedIn:
            return self.token.open()

    def one(self, session: Any, kind: Any) -> Any:
        """The one object of a class that the URI names.

        Raises:
            UsageError: There is none, or several.
        """
        api = require("pkcs11")
        wanted: dict[Any, Any] = {api.Attribute.CLASS: kind}
        if "object" in self.wanted:
            wanted[api.Attribute.LABEL] = _text(self.wanted["object"])
        if "id" in self.wanted:
            wanted[api.Attribute.ID] = self.wanted["id"]
        found = list(session.get_objects(wanted))
        if len(found) != 1:
            raise UsageError(
                f"{self.name}: expected one {kind.name.lower().replace('_', ' ')}, got "
                f"{len(found) or 'none'}; name it with object= or id=, and log in with a PIN"
            )
        return found[0]

    def public(self) -> str:
        """PEM of the public key, which stands next to the private one in the token.

        Raises:
            UsageError: There is none, or it is of another type.
        """
        api = require("pkcs11")
        with self.session() as session:
            self.one(session, api.ObjectClass.PRIVATE_KEY)
            key = self.one(session, api.ObjectClass.PUBLIC_KEY)
            if key.key_type == api.KeyType.EC:
                return pem_of_der(require("pkcs11.util.ec").encode_ec_public_key(key), self.name)
            if key.key_type == api.KeyType.RSA:
                modulus, exponent = api.Attribute.MODULUS, api.Attribute.PUBLIC_EXPONENT
                return pem_of_modulus(key[modulus], key[exponent], self.name)
        raise UsageError(f"{self.name}: expected an ECDSA or RSA key, got {key.key_type.name}")


def open_pkcs11(rest: str, *, password: Pin = None) -> DeviceKey:
    """The key of a URI behind `pkcs11:`.

    Args:
        rest: `token=…;object=…;id=…?module-path=…&pin-value=…` (or `module-name`, `pin-source`).
        password: PIN, or a function that asks for it, if the URI has none.

    Raises:
        UsageError: The URI is of another form, or names no module, token or key.
        MissingExtra: `pkcs11` is not installed.
    """
    path, _, query = rest.partition("?")
    wanted, how = _attributes(path, ";", _PATH), _attributes(query, "&", _QUERY)
    name = f"pkcs11:{path}"
    if wanted.get("type", b"private") != b"private":
        raise UsageError(f"{name}: expected type=private, got another")
    if not wanted.keys() & {"object", "id"}:
        raise UsageError(f"{name}: expected the key's object= (label) or id=, got neither")
    token = _token(_library(how, name), wanted, name)
    key = DeviceKey(name, token, _pin(how, password, name), wanted)
    return DeviceKey(name, token, key.pin, wanted, pem=key.public())


def _attributes(text: str, mark: str, known: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in filter(None, text.split(mark)):
        name, equals, value = item.partition("=")
        if not equals or name in found:
            raise UsageError(f"pkcs11: expected name=value once each, got {name!r}")
        if name not in known and not name.startswith("x-"):
            raise UsageError(
                f"pkcs11: unknown attribute {name!r}; expected {', '.join(sorted(known))}"
            )
        found[name] = unquote_to_bytes(value)
    return found


def _library(how: Mapping[str, bytes], name: str) -> Any:
    api = require("pkcs11")
    path = _text(how["module-path"]) if "module-path" in how else os.environ.get(_MODULE)
    if "module-name" in how:
        path = _found(_text(how["module-name"]), path)
    elif path and Path(path).is_dir():
        raise UsageError(f"{name}: module-path={path} is a folder: expected module-name= with it")
    if not path:
        raise UsageError(
            f"{name}: expected ?module-path= with the path of the device's PKCS #11 module (.so), "
            f"module-name=, or {_MODULE}"
        )
    try:
        ctypes.CDLL(path, mode=_OWN_SYMBOLS)
        return api.lib(path)
    except (RuntimeError, OSError, api.exceptions.PKCS11Error) as error:
        raise UsageError(f"{name}: cannot load the module {path}: {error}") from error


def _found(module: str, folder: str | None) -> str | None:
    """Path of a module by its name, in a given folder or in those of distributions."""
    if "/" in module:
        raise UsageError(f"pkcs11: module-name: expected a name without '/', got {module!r}")
    for place in (folder,) if folder else _FOLDERS:
        for file in (f"lib{module}.so", f"{module}.so", module):
            if (path := Path(place) / file).is_file():
                return str(path)
    return None


def _token(library: Any, wanted: Mapping[str, bytes], name: str) -> Any:
    slot = wanted.get("slot-id")
    found, initialized = [], require("pkcs11").TokenFlag.TOKEN_INITIALIZED
    for each in library.get_slots(token_present=True):
        if slot is not None and str(each.slot_id).encode() != slot:
            continue
        token = each.get_token()
        if initialized in token.flags and all(
            _of(token, key) == wanted[uri] for uri, key in _TOKEN.items() if uri in wanted
        ):
            found.append(token)
    if len(found) != 1:
        raise UsageError(
            f"{name}: expected one token, got {len(found) or 'none'}; name it with token= or "
            "serial="
        )
    return found[0]


def _of(token: Any, key: str) -> bytes:
    value = getattr(token, key)
    return bytes(value).rstrip() if isinstance(value, bytes) else str(value).rstrip().encode()


def _pin(how: Mapping[str, bytes], password: Pin, name: str) -> str | None:
    if "pin-value" in how and "pin-source" in how:
        raise UsageError(f"{name}: expected pin-value or pin-source, got both")
    if "pin-value" in how:
        return _text(how["pin-value"])
    if "pin-source" in how:
        place = Path(_text(how["pin-source"]).removeprefix("file://").removeprefix("file:"))
        try:
            with place.open("rb") as stream:
                return _text(stream.read(_PIN_BYTES)).rstrip("\r\n")
        except OSError as error:
            raise UsageError(f"{name}: cannot read pin-source {place}: {error.strerror}") from error
    given = password() if callable(password) else password
    return given.decode() if isinstance(given, bytes) else given


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UsageError("pkcs11: expected UTF-8 text in an attribute") from error
