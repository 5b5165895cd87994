"""MLflow's artifact repositories, unprotected, and its errors as ours.

URI of a model → MLflow's own repository → private copy without MLflow's meta file
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from mlsecops._extras import require
from mlsecops.errors import RegistryError

T = TypeVar("T")

MLMODEL: Final = "MLmodel"
META: Final = "registered_model_meta"
"""File that MLflow adds to every copy; it is no part of the model."""
bare: Final[ContextVar[bool]] = ContextVar("bare", default=False)
"""Flag: MLflow's unprotected repositories are used, as inside of a protected one."""


def client() -> Any:
    """MLflow's client of the current tracking and registry servers."""
    return require("mlflow").MlflowClient()


def asked(ask: Callable[[], T]) -> T:
    """Call MLflow and raise its errors as `RegistryError`."""
    exceptions = require("mlflow.exceptions")
    try:
        return ask()
    except exceptions.MlflowException as error:
        raise RegistryError(f"MLflow: {error}") from error


def repositories() -> dict[str, Any]:
    """MLflow's table of scheme → artifact repository."""
    registry = require("mlflow.store.artifact.artifact_repository_registry")
    return cast("dict[str, Any]", registry.get_registered_artifact_repositories())


@contextlib.contextmanager
def own_repositories() -> Iterator[None]:
    """Use MLflow's unprotected repositories in the block."""
    token = bare.set(True)
    try:
        yield
    finally:
        bare.reset(token)


def made(make: Any, uri: str, where: dict[str, Any]) -> Any:
    """Make an unprotected repository of MLflow, and unprotected ones inside of it."""
    with own_repositories():
        return make(uri, **where)


def fetched(uri: str, folder: Path, name: str) -> Path:
    """Copy the model at a URI into `folder/name`.

    Args:
        uri: `models:/…`, `runs:/…`, a local path or another URI of a store.
        folder: A private folder.
        name: Name of the copy, under which it is signed.

    Raises:
        RegistryError: There is no model at the URI.
    """
    registry = require("mlflow.store.artifact.artifact_repository_registry")
    with own_repositories():
        own = asked(lambda: registry.get_artifact_repository(uri))
        return copied_model(own, folder, name)


def copied_model(own: Any, folder: Path, name: str) -> Path:
    """Copy the model of an unprotected repository into `folder/name`."""
    model = folder / name
    model.mkdir()
    with own_repositories():
        source = asked(lambda: _source(own))
        asked(lambda: source.download_artifacts("", str(model)))
    (model / META).unlink(missing_ok=True)
    if not (model / MLMODEL).is_file():
        raise RegistryError(
            f"MLflow: {getattr(own, 'artifact_uri', own)}: expected a model with its file "
            f"{MLMODEL}, got none; log a model, or name the folder of save_model"
        )
    return model


def _source(own: Any) -> Any:
    """The repository that holds the files, which `register_model` records too.

    Of a run's path, MLflow registers the run's own files if a model is among them, and else the
    logged model of that name.
    """
    runs = require("mlflow.store.artifact.runs_artifact_repo").RunsArtifactRepository
    if not isinstance(own, runs):
        return getattr(own, "repo", own)
    if any(each.path.rpartition("/")[2] == MLMODEL for each in own.repo.list_artifacts(None)):
        return own.repo
    run, path = runs.parse_runs_uri(own.artifact_uri)
    logged = own._get_logged_model_artifact_repo(run_id=run, name=path)  # noqa: SLF001 - there is no other way
    return own.repo if logged is None else getattr(logged, "repo", logged)
