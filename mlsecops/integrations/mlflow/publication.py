"""Publication of models in MLflow's registry: signed first, registered with the signature.

logged model → private copy → signature over name, next version and files → version with tags
version → verified → signed under another name, or signed in place, or target of an alias
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import MLSecOpsError, RegistryError, UsageError
from mlsecops.integrations.mlflow.signatures import (
    BUNDLE,
    DIGEST,
    LONGEST,
    VERSION,
    number_of,
    require_signed,
    tags_of,
    verified_version,
)
from mlsecops.integrations.mlflow.storage import asked, client, fetched, own_repositories
from mlsecops.provenance import Digest, Statement
from mlsecops.signing import Bundle, Signer, TrustPolicy, Verified, sign
from mlsecops.signing.oms import read_payload


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A signed version of a registered model.

    Attributes:
        name: Name of the registered model.
        version: Its number.
        digest: Root digest of its files.
    """

    name: str
    version: int
    digest: Digest


@checked
def publish(
    name: str,
    model_uri: str,
    *,
    signer: Signer | Sequence[Signer],
    statements: Sequence[Statement] = (),
    include_secrets: bool = False,
) -> Published:
    """Sign a logged model and register it as the next version, signature included.

    Call it right after the model was logged, since it signs whatever is stored at that time. If
    signing fails, nothing is registered.

    Args:
        name: Name of the registered model, created if missing.
        model_uri: `model_uri` of `log_model`, `runs:/…`, or a folder of `save_model`.
        signer: One signer, or several for a policy's threshold.
        statements: Further statements about the model's files, as for `mlsecops.sign`.
        include_secrets: As for `mlsecops.sign`.

    Raises:
        MissingExtra: MLflow is not installed.
        RegistryError: There is no model at the URI, or MLflow refuses.
        UsageError: The signature is too long for a tag.
        UnsafeContent: A file is a private key or holds credentials.
    """
    require("mlflow")
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        model = fetched(model_uri, Path(folder), name)
        return _registered(
            model, name, model_uri, signer=signer, statements=statements,
            include_secrets=include_secrets,
        )  # fmt: skip


@checked
def copy_version(
    name: str,
    version: int | str,
    to: str,
    *,
    policy: TrustPolicy,
    signer: Signer | Sequence[Signer],
    statements: Sequence[Statement] = (),
) -> Published:
    """Verify a version and register it under another name, signed under that name.

    Args:
        name: Name of the registered model.
        version: Its number.
        to: Name of the other registered model, created if missing.
        policy: Trust policy, which the version must satisfy.
        signer: As for `publish`; signs the copy.
        statements: Further statements; those of the version are kept.

    Raises:
        VerificationError: The version does not verify; nothing is registered.
        RegistryError: There is no such version, or MLflow refuses.
    """
    number = number_of(version)
    source = f"models:/{name}/{number}"
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        model = fetched(source, Path(folder), name)
        verified = require_signed(model, name, number, policy)
        return _registered(
            model.rename(Path(folder, to)), to, source, signer=signer,
            statements=(*verified.statements, *statements), include_secrets=True,
        )  # fmt: skip


@checked
def sign_version(
    name: str,
    version: int | str,
    *,
    signer: Signer | Sequence[Signer],
    statements: Sequence[Statement] = (),
    add: bool = False,
    replace: bool = False,
    include_secrets: bool = False,
) -> Published:
    """Sign a version that is registered already, under its name and number.

    Args:
        name: Name of the registered model.
        version: Its number.
        signer: As for `publish`.
        statements: As for `publish`.
        add: Whether to add the signers to the signature that is there, for unchanged files.
        replace: Whether to replace the signature of other keys.
        include_secrets: As for `mlsecops.sign`.

    Raises:
        RegistryError: There is no such version.
        UsageError: Another key's signature or statements would be lost, or it is too long.
        DigestMismatch: With `add`, the files differ from the signed ones.
    """
    number = number_of(version)
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        held = tags_of(name, number).get(BUNDLE)
        if held is not None:
            Path(folder, "bundle").write_text(held, "utf-8")
        model = fetched(f"models:/{name}/{number}", Path(folder), name)
        bundle = sign(
            model, signer, out=Path(folder, "bundle"), version=number, statements=statements,
            add=add, replace=replace, include_secrets=include_secrets,
        )  # fmt: skip
    tags = _tags(bundle, f"{name} {number}")
    _tag(name, number, tags)
    _mark(asked(lambda: client().get_model_version(name, str(number))), name, number)
    return Published(name=name, version=number, digest=Digest.parse(tags[DIGEST]))


@checked
def promote(name: str, version: int | str, alias: str, *, policy: TrustPolicy) -> Verified:
    """Set an alias to a version that verifies.

    Args:
        name: Name of the registered model.
        version: Its number.
        alias: The alias, such as `"champion"`.
        policy: Trust policy.

    Raises:
        VerificationError: It does not verify; the alias is unchanged.
        RegistryError: There is no such version.
    """
    number = number_of(version)
    verified = verified_version(name, number, policy)
    asked(lambda: client().set_registered_model_alias(name, alias, str(number)))
    return verified


@checked
def rollback(name: str, alias: str, *, policy: TrustPolicy) -> int:
    """Set an alias back to the newest older version that verifies.

    Args:
        name: Name of the registered model.
        alias: The alias.
        policy: Trust policy; versions that it revokes are skipped.

    Returns:
        The version.

    Raises:
        RegistryError: The alias does not exist, or no older version verifies.
    """
    current = number_of(asked(lambda: client().get_model_version_by_alias(name, alias)).version)
    refused = []
    for version in sorted((each for each in _versions(name) if each < current), reverse=True):
        try:
            verified_version(name, version, policy)
        except MLSecOpsError as error:
            refused.append(f"{version}: {error}")
            continue
        asked(lambda: client().set_registered_model_alias(name, alias, str(version)))  # noqa: B023 - called here
        return version
    raise RegistryError(
        f"{name}@{alias} is at version {current}: expected an older version that verifies, got "
        f"{'; '.join(refused) or 'no older version'}; publish a good one and promote it"
    )


def _registered(
    model: Path,
    name: str,
    source: str,
    *,
    signer: Signer | Sequence[Signer],
    statements: Sequence[Statement],
    include_secrets: bool,
) -> Published:
    """Sign a private copy and register its source, with the signature in the version's tags."""

    def signed(number: int) -> dict[str, str]:
        bundle = sign(
            model, signer, out=model.with_name("bundle"), version=number, statements=statements,
            replace=True, include_secrets=include_secrets,
        )  # fmt: skip
        return _tags(bundle, f"{name} {number}")

    expected = max(_versions(name), default=0) + 1
    tags = signed(expected)
    with own_repositories():
        made = asked(lambda: require("mlflow").register_model(source, name, tags=tags))
    number = number_of(made.version)
    try:
        if number != expected:  # somebody registered meanwhile, or deleted the newest version
            tags = signed(number)
            _tag(name, number, tags)
        _mark(made, name, number)
    except BaseException:
        asked(lambda: client().delete_model_version(name, str(number)))
        raise
    return Published(name=name, version=number, digest=Digest.parse(tags[DIGEST]))


def _mark(made: Any, name: str, number: int) -> None:
    """Tell the logged model that a version was made from which signature covers it."""
    source = str(made.source)
    if source.startswith("models:/m-"):
        identity = source.removeprefix("models:/").partition("/")[0]
        mark = {VERSION: f"{name}/{number}"}
        asked(lambda: client().set_logged_model_tags(identity, mark))


def _tags(bundle: Bundle, what: str) -> dict[str, str]:
    text = bundle.to_bytes().decode()
    if len(text) > LONGEST:
        raise UsageError(
            f"{what}: expected a signature of at most {LONGEST} characters, as MLflow's tags hold, "
            f"got {len(text)}; sign fewer files, such as an archive of them"
        )
    claim = read_payload(bundle.envelope.payload, where=what)
    return {BUNDLE: text, DIGEST: str(claim.manifest.root)}


def _tag(name: str, number: int, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        asked(lambda: client().set_model_version_tag(name, str(number), key, value))  # noqa: B023 - called here


def _versions(name: str) -> list[int]:
    found, token = [], None
    while True:
        page = asked(
            lambda: client().search_model_versions(f"name = '{name}'", page_token=token)  # noqa: B023 - called here
        )
        found += [number_of(each.version) for each in page]
        token = getattr(page, "token", None)
        if not token:
            return found
