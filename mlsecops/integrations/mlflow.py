"""Signatures in MLflow's model registry, verified at every load.

`publish`: logged model → signature over name, version and files → tags of the version. `protect`:
load by `models:/` (version, alias, stage or `m-` id) or `runs:/` → private copy → verification →
MLflow loads that copy. `promote` and `rollback` move an alias to a version that verifies. MLflow
itself verifies nothing when it loads.

Limits: whoever controls the database can hide versions and move aliases among versions that verify,
down to the policy's floor. Loads from a path or another scheme (`file:`, `s3:`) are not verified. A
signed model may be a pickle: the signer vouches for its code.

Source: MLflow 3 `artifact_repository_registry` and `models_artifact_repo`.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    RegistryError,
    SignatureMissing,
    UsageError,
)
from mlsecops.provenance import Digest
from mlsecops.signing import Bundle, Signer, TrustPolicy, Verified, sign, verify

__all__ = ["Published", "promote", "protect", "publish", "rollback"]

DIGEST: Final = "mlsecops.digest"
BUNDLE: Final = "mlsecops.bundle"
VERSION: Final = "mlsecops.version"
"""Tag of a logged model: the registered name and version of its signature."""
_LONGEST: Final = 100_000  # characters of a tag; MLflow 3, MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH
_META: Final = "registered_model_meta"
"""File that MLflow adds to every copy; it is no part of the model."""
_MLMODEL: Final = "MLmodel"
_bare: ContextVar[bool] = ContextVar("bare", default=False)
"""Flag: MLflow's unprotected repositories are used, as inside of a protected one."""


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
def publish(name: str, model_uri: str, *, signer: Signer) -> Published:
    """Register a logged model as the next version, and sign it under that name and version.

    Call it right after the model was logged, since it signs whatever is stored at that time.

    Args:
        name: Name of the registered model, created if missing.
        model_uri: `model_uri` of `log_model`, `runs:/…`, or a folder of `save_model`.
        signer: The signer.

    Raises:
        MissingExtra: MLflow is not installed.
        RegistryError: There is no model at the URI.
        UsageError: The signature is too long for a tag.
    """
    mlflow, client = require("mlflow"), _client()
    version = _asked(lambda: mlflow.register_model(model_uri, name))
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        model = _fetched(_own(f"models:/{name}/{version.version}"), Path(folder), name)
        bundle = sign(model, signer, out=Path(folder, "bundle"), version=int(version.version))
        digest = verify(model, bundle, policy=TrustPolicy(keys=[signer.public_key])).digest
    text = bundle.to_bytes().decode()
    if len(text) > _LONGEST:
        raise UsageError(
            f"{name} {version.version}: expected a signature of at most {_LONGEST} characters, as "
            f"MLflow's tags hold, got {len(text)}; sign fewer files, such as an archive of them"
        )
    client.set_model_version_tag(name, version.version, BUNDLE, text)
    client.set_model_version_tag(name, version.version, DIGEST, str(digest))
    if version.source.startswith("models:/m-"):
        identity = version.source.removeprefix("models:/").partition("/")[0]
        client.set_logged_model_tags(identity, {VERSION: f"{name}/{version.version}"})
    return Published(name=name, version=int(version.version), digest=digest)


def protect(policy: TrustPolicy) -> contextlib.AbstractContextManager[object]:
    """Verify every registered model that MLflow loads in this process.

    A load then raises the errors of `mlsecops.verify`; `SignatureMissing` for unsigned versions.

    Args:
        policy: Trust policy.

    Returns:
        A context manager that ends the protection; without `with` it lasts.

    Raises:
        MissingExtra: MLflow is not installed.
    """
    table = _repositories()
    models, runs = table["models"], table["runs"]

    def guarded_models(uri: str, **where: Any) -> Any:
        own = _made(models, uri, where)
        return own if _bare.get() else _Models(own, uri, policy)

    def guarded_runs(uri: str, **where: Any) -> Any:
        own = _made(runs, uri, where)
        return own if _bare.get() else _Runs(own)

    table.update(models=guarded_models, runs=guarded_runs)
    protection = contextlib.ExitStack()
    protection.callback(table.update, models=models, runs=runs)
    return protection


@checked
def promote(name: str, version: int, alias: str, *, policy: TrustPolicy) -> Verified:
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
    client = _client()
    verified = _verified(client, name, version, policy)
    client.set_registered_model_alias(name, alias, str(version))
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
    client = _client()
    current = int(_asked(lambda: client.get_model_version_by_alias(name, alias)).version)
    known = client.search_model_versions(f"name = '{name}'")
    older = sorted(int(each.version) for each in known if int(each.version) < current)
    refused = []
    for version in reversed(older):
        try:
            _verified(client, name, version, policy)
        except MLSecOpsError as error:
            refused.append(f"{version}: {error}")
            continue
        client.set_registered_model_alias(name, alias, str(version))
        return version
    raise RegistryError(
        f"{name}@{alias} is at version {current}: expected an older version that verifies, got "
        f"{'; '.join(refused) or 'no older version'}; publish a good one and promote it"
    )


class _Runs:
    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._own, attribute)

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        full = f"{self._own.artifact_uri}/{artifact_path}".rstrip("/")
        run, path = self._own.parse_runs_uri(full)
        name, _, part = (path or "").partition("/")
        # MLflow itself would fall back from a refused logged model to the files of the run.
        logged = self._own._get_logged_model_artifact_repo(run_id=run, name=name) if name else None  # noqa: SLF001 - there is no other way
        if logged is not None:
            return str(logged.download_artifacts(part, dst_path))
        with _own_repositories():
            place = Path(self._own.download_artifacts(artifact_path, dst_path))
        if place.name == _MLMODEL or any(place.rglob(_MLMODEL)):
            raise SignatureMissing(
                f"{full}: expected a logged model that is signed, got files of the run; publish "
                "them with mlsecops.integrations.mlflow.publish and load models:/NAME/VERSION"
            )
        return str(place)


class _Models(_Runs):
    def __init__(self, own: Any, uri: str, policy: TrustPolicy) -> None:
        super().__init__(own)
        self._uri, self._policy = uri, policy

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None, **_: Any) -> str:
        name, version = self._own.model_name, self._own.model_version
        if name is None:
            name, version = _registered(self._uri)
        folder = Path(tempfile.mkdtemp(prefix="mlsecops-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        model = _fetched(self._own, folder, name)
        _require_signed(_client(), model, name, int(version), self._policy)
        self._own._add_registered_model_meta_file(str(model))  # noqa: SLF001 - as MLflow does
        part = model / artifact_path
        if not part.resolve().is_relative_to(model.resolve()):
            raise UsageError(f"{self._uri}: expected a path in the model, got {artifact_path!r}")
        return str(part) if dst_path is None else _copied(part, Path(dst_path, artifact_path))


def _verified(client: Any, name: str, version: int, policy: TrustPolicy) -> Verified:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        own = _asked(lambda: _own(f"models:/{name}/{version}"))
        return _require_signed(client, _fetched(own, Path(folder), name), name, version, policy)


def _require_signed(
    client: Any, model: Path, name: str, version: int, policy: TrustPolicy
) -> Verified:
    where = f"models:/{name}/{version}"
    tags = _asked(lambda: client.get_model_version(name, str(version))).tags
    if BUNDLE not in tags:
        raise SignatureMissing(
            f"{where}: expected a signature in the tag {BUNDLE}, got none; "
            "publish the model with mlsecops.integrations.mlflow.publish"
        )
    bundle = Bundle.from_bytes(tags[BUNDLE].encode(), where=f"{where}: tag {BUNDLE}")
    verified = verify(model, bundle, policy=policy)
    if (verified.name, verified.version) != (name, version):
        raise DigestMismatch(
            f"{where}: expected what was signed as {name} version {version}, got "
            f"{verified.name} version {verified.version}: another model's files and signature "
            "replaced it"
        )
    return verified


def _registered(uri: str) -> tuple[str, int]:
    """Name and version of the signature of a logged model (`models:/m-…`)."""
    identity = uri.removeprefix("models:/").partition("/")[0]
    tag = _asked(lambda: _client().get_logged_model(identity)).tags.get(VERSION, "")
    name, _, number = tag.rpartition("/")
    if not name or not number.isdecimal():
        raise SignatureMissing(
            f"{uri}: expected the tag {VERSION} of a registered, signed version, got {tag!r}; "
            "publish the model with mlsecops.integrations.mlflow.publish"
        )
    return name, int(number)


def _fetched(own: Any, folder: Path, name: str) -> Path:
    model = folder / name
    model.mkdir()
    with _own_repositories():
        # `own.download_artifacts` would add MLflow's meta file to the copy.
        _asked(lambda: own.repo.download_artifacts("", str(model)))
    (model / _META).unlink(missing_ok=True)
    return model


def _copied(part: Path, place: Path) -> str:
    if part.is_dir():
        shutil.copytree(part, place, dirs_exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(part, place)
    return str(place)


def _own(uri: str) -> Any:
    return _made(_repositories()["models"], uri, {})


def _made(made: Any, uri: str, where: dict[str, Any]) -> Any:
    """Make an unprotected repository of MLflow, and unprotected ones inside of it."""
    with _own_repositories():
        return made(uri, **where)


@contextlib.contextmanager
def _own_repositories() -> Iterator[None]:
    token = _bare.set(True)
    try:
        yield
    finally:
        _bare.reset(token)


def _asked(ask: Callable[[], Any]) -> Any:
    """Call MLflow and raise its errors as `RegistryError`."""
    exceptions = require("mlflow.exceptions")
    try:
        return ask()
    except exceptions.MlflowException as error:
        raise RegistryError(f"MLflow: {error}") from error


def _repositories() -> dict[str, Any]:
    registry = require("mlflow.store.artifact.artifact_repository_registry")
    return cast("dict[str, Any]", registry.get_registered_artifact_repositories())


def _client() -> Any:
    return require("mlflow").MlflowClient()
