"""Signature of a registered version, kept in its tags.

name, version → tag → bundle; private copy of the files → Verified, under that name and version
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from mlsecops.errors import DigestMismatch, SignatureMissing, UsageError
from mlsecops.integrations.mlflow.storage import asked, client, fetched
from mlsecops.signing import Bundle, TrustPolicy, Verified, verify

DIGEST: Final = "mlsecops.digest"
BUNDLE: Final = "mlsecops.bundle"
VERSION: Final = "mlsecops.version"
"""Tag of a logged model: the registered name and version of its signature."""
LONGEST: Final = 100_000  # characters of a tag; MLflow 3, MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH


def number_of(version: object) -> int:
    """The number of a version, which MLflow gives as a number or as text.

    Raises:
        UsageError: It is neither.

    Examples:
        >>> number_of("3"), number_of(3)
        (3, 3)
    """
    text = str(version)
    if isinstance(version, (bool, float)) or not (text.isascii() and text.isdecimal()):
        raise UsageError(
            f"version: expected the number of a registered version, like 3 or '3', got {version!r}"
        )
    return int(text)


def tags_of(name: str, version: int) -> dict[str, str]:
    """Tags of a registered version.

    Raises:
        RegistryError: There is no such version.
    """
    return dict(asked(lambda: client().get_model_version(name, str(version))).tags)


def verified_version(name: str, version: int, policy: TrustPolicy) -> Verified:
    """Fetch a version and verify it."""
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        model = fetched(f"models:/{name}/{version}", Path(folder), name)
        return require_signed(model, name, version, policy)


def require_signed(model: Path, name: str, version: int, policy: TrustPolicy) -> Verified:
    """Demand that the files in a private folder are those signed as a version.

    Args:
        model: The folder; its name is that of the registered model.
        name: Name of the registered model.
        version: Its number.
        policy: Trust policy.

    Raises:
        SignatureMissing: The version has no signature.
        DigestMismatch: They are other files, or signed as another model or version.
    """
    where = f"models:/{name}/{version}"
    tags = tags_of(name, version)
    if BUNDLE not in tags:
        raise SignatureMissing(
            f"{where}: expected a signature in the tag {BUNDLE}, got none; publish the model with "
            "mlsecops.integrations.mlflow.publish, or sign it where it is with sign_version"
        )
    bundle = Bundle.from_bytes(tags[BUNDLE].encode(), where=f"{where}: tag {BUNDLE}")
    verified = verify(model, bundle, policy=policy)
    if (verified.name, verified.version) != (name, version):
        raise DigestMismatch(
            f"{where}: expected what was signed as {name} version {version}, got "
            f"{verified.name} version {verified.version}: another model's files and signature "
            "replaced it; copy versions with mlsecops.integrations.mlflow.copy_version"
        )
    return verified


def registered(uri: str) -> tuple[str, int]:
    """Name and version of the signature of a logged model (`models:/m-…`).

    Raises:
        SignatureMissing: It was not published.
    """
    identity = uri.removeprefix("models:/").partition("/")[0]
    tag: Any = asked(lambda: client().get_logged_model(identity)).tags.get(VERSION, "")
    name, _, number = tag.rpartition("/")
    if not name or not number.isdecimal():
        raise SignatureMissing(
            f"{uri}: expected the tag {VERSION} of a registered, signed version, got {tag!r}; "
            "publish the model with mlsecops.integrations.mlflow.publish"
        )
    return name, int(number)
