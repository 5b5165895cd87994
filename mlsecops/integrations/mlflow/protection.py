"""Verification of every model that MLflow loads in this process.

URI → MLflow's repository, wrapped → private copy → verification → path of that copy
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

from mlsecops._choices import checked
from mlsecops.errors import SignatureMissing, UsageError
from mlsecops.integrations.mlflow.signatures import registered, require_signed
from mlsecops.integrations.mlflow.storage import (
    META,
    MLMODEL,
    bare,
    copied_model,
    made,
    own_repositories,
    repositories,
)
from mlsecops.provenance import DEFAULT_IGNORE, Manifest, hash_path
from mlsecops.signing import TrustPolicy

_verified: Final[dict[Path, Manifest | None]] = {}
"""Copies of verified models, which MLflow reads by path; the manifest of those that others see."""


@checked
def protect(
    policy: TrustPolicy, *, others: Literal["allow", "refuse"] = "allow"
) -> contextlib.AbstractContextManager[object]:
    """Verify every registered model that MLflow loads in this process.

    A load then raises the errors of `mlsecops.verify`; `SignatureMissing` for unsigned versions.

    Args:
        policy: Trust policy.
        others: Whether models may be loaded from elsewhere, unverified: plain paths and schemes
            such as `mlflow-artifacts:` and `s3:`. `"refuse"` raises `SignatureMissing` for them.

    Returns:
        A context manager that ends the protection; without `with` it lasts.

    Raises:
        MissingExtra: MLflow is not installed.
    """
    table = repositories()
    before = dict(table)

    def guarded_models(uri: str, **where: Any) -> Any:
        own = made(before["models"], uri, where)
        return own if bare.get() else _Models(own, uri, policy)

    def guarded_runs(uri: str, **where: Any) -> Any:
        own = made(before["runs"], uri, where)
        return own if bare.get() else _Runs(own)

    table.update(models=guarded_models, runs=guarded_runs)
    if others == "refuse":
        rest = before.keys() - {"models", "runs"}
        table.update({scheme: _refusing(before[scheme]) for scheme in rest})
    protection = contextlib.ExitStack()
    protection.callback(table.update, before)
    return protection


def _refusing(make: Any) -> Any:
    """A maker of repositories that give no model, except verified copies."""

    def guarded(uri: str, **where: Any) -> Any:
        own = made(make, uri, where)
        if not bare.get() and not isinstance(own, _Other):
            kind = type(own)
            # MLflow asks for the repository's class here and there, so it stays an instance of it.
            own.__class__ = type(f"Protected{kind.__name__}", (_Other, kind), {})
        return own

    return guarded


class _Other:
    """Repository of another scheme, from which no model is loaded."""

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        place = str(super().download_artifacts(artifact_path, dst_path))  # type: ignore[misc]
        found = Path(place)
        if not bare.get() and (found.name == MLMODEL or (found / MLMODEL).exists()):
            _require_verified(found, f"{getattr(self, 'artifact_uri', '')}/{artifact_path}")
        return place


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
        with own_repositories():
            place = Path(self._own.download_artifacts(artifact_path, dst_path))
        if place.name == MLMODEL or any(place.rglob(MLMODEL)):
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
            name, version = registered(self._uri)
        folder = Path(tempfile.mkdtemp(prefix="mlsecops-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        model = copied_model(self._own, folder, name)
        require_signed(model, name, int(version), self._policy)
        _verified[model.resolve()] = None
        self._own._add_registered_model_meta_file(str(model))  # noqa: SLF001 - as MLflow does
        part = model / artifact_path
        if not part.resolve().is_relative_to(model.resolve()):
            raise UsageError(f"{self._uri}: expected a path in the model, got {artifact_path!r}")
        return str(part) if dst_path is None else _copied(part, Path(dst_path, artifact_path))


def _require_verified(place: Path, uri: str) -> None:
    """Demand that a path with a model is, or is in, a verified copy that nobody changed."""
    real = place.resolve()
    root = next((each for each in (real, *real.parents) if each in _verified), None)
    if root is None:
        raise SignatureMissing(
            f"{uri.rstrip('/')}: expected a registered model (models:/NAME/VERSION), since "
            'protect(others="refuse") loads no other; publish it with '
            "mlsecops.integrations.mlflow.publish"
        )
    manifest = _verified[root]
    if manifest is not None:
        manifest.verify(root)


def _copied(part: Path, place: Path) -> str:
    if part.is_dir():
        shutil.copytree(part, place, dirs_exist_ok=True)
        if (place / MLMODEL).exists():
            ignore = (*DEFAULT_IGNORE, META)
            _verified[place.resolve()] = hash_path(part, ignore=ignore)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(part, place)
    return str(place)
