"""Training run and its SLSA provenance: data digests, hyperparameters, code, environment, outputs.

data, hyperparameters → TrainingRun → outputs → Statement
"""

from __future__ import annotations

import base64
import enum
import functools
import json
import os
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

from mlsecops._callables import Hooks, arguments_by_name, called_first, wrap
from mlsecops._choices import checked, of_type, printable, several, shown
from mlsecops._repr import concise_repr
from mlsecops._secrets import REDACTED, redacted
from mlsecops.errors import MLSecOpsWarning, UsageError
from mlsecops.provenance.builder import builder_id, require_builder
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.distributions import packages
from mlsecops.provenance.environment import (
    code_descriptor,
    code_folder,
    framework_facts,
    platform_facts,
)
from mlsecops.provenance.manifest import Manifest, hash_path
from mlsecops.provenance.parameters import is_plain, plain_parameters
from mlsecops.provenance.statement import FILE_SUBJECT, SLSA_PROVENANCE, Statement

P = ParamSpec("P")
R = TypeVar("R")
Clock = Callable[[], datetime]

BUILD_TYPE: Final = "urn:mlsecops:training-run:1"
_DATA: Final = (Manifest, str, os.PathLike)

_current: ContextVar[TrainingRun | None] = ContextVar("training_run", default=None)


def utc_now() -> datetime:
    """Current time, timezone-aware UTC."""
    return datetime.now(UTC)


class RunState(enum.StrEnum):
    """State of a training run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@concise_repr("name", "id", "state", "datasets", "outputs", "hyperparameters")
class TrainingRun:
    """Inputs and outputs of a training run; `training_run` opens one.

    Attributes:
        name: Name of the training.
        id: Unique id of this run.
        datasets: Manifests of the input data.
        hyperparameters: Plain JSON values, without secrets.
        outputs: Manifests of the outputs, in the order of `add_output`.
        state: Running, succeeded or failed.
        builder: URI of the platform that runs it.
        failure: Type of the exception that ended the run, or None. Its text may hold data and is
            not kept.
    """

    def __init__(
        self,
        name: str,
        *,
        datasets: Iterable[Manifest | str | os.PathLike[str]],
        hyperparameters: Mapping[str, Any],
        code: Path,
        clock: Clock,
        keep: Collection[str] = (),
        builder: str | None = None,
    ) -> None:
        self.name = printable("name", name)
        self.builder = builder_id() if builder is None else require_builder(builder, "builder")
        self.id = str(uuid.uuid4())
        self.datasets = _manifests(datasets)
        self.hyperparameters, hidden = redacted(plain_parameters(hyperparameters), keep=keep)
        if hidden:
            warnings.warn(
                f"run {name!r}: recorded as {REDACTED}, since they may hold secrets: "
                f"{', '.join(hidden)}; keep=[…] names those to record",
                MLSecOpsWarning,
                stacklevel=4,
            )
        self.outputs: list[Manifest] = []
        self.state = RunState.RUNNING
        self.failure: str | None = None
        self._clock = clock
        self._code = code_descriptor(code)
        self._started = clock()
        self._finished: datetime | None = None
        self._facts: dict[str, Any] | None = None
        parent = _current.get()
        self._parent = None if parent is None else parent.id

    def add_dataset(self, data: Manifest) -> None:
        """Record input data that was read while the run went on; the same data once.

        Args:
            data: Its manifest.
        """
        of_type("data", data, Manifest, "a manifest of hash_path or hash_dataset")
        if all((data.name, data.root) != (known.name, known.root) for known in self.datasets):
            self.datasets = (*self.datasets, data)

    def add_output(self, path: str | os.PathLike[str]) -> Manifest:
        """Hash a file or folder and record it as an output.

        Raises:
            UsageError: It cannot be read, or there is an output of that name already.
        """
        manifest = hash_path(path)
        if any(output.name == manifest.name for output in self.outputs):
            raise UsageError(f"run {self.name!r} has an output named {manifest.name!r} already")
        self.outputs.append(manifest)
        return manifest

    def finish(self, *, failure: BaseException | None = None) -> None:
        """End the run; the `with` block of `training_run` does this once."""
        if self._finished is None:
            self._finished = self._clock()
            self._facts = {**platform_facts(), **framework_facts()}
            self.failure = None if failure is None else type(failure).__name__
            self.state = RunState.SUCCEEDED if failure is None else RunState.FAILED

    @property
    def duration(self) -> float:
        """Seconds from start to end, or until now while the run is open."""
        return ((self._finished or self._clock()) - self._started).total_seconds()

    def statement(self) -> Statement:
        """SLSA provenance of the outputs.

        An output that is a single file has a second subject, `NAME#file`, with the digest of its
        bytes, which other verifiers look for; the first is the root digest of its signature. The
        environment is described by this process itself, which is SLSA build level 1.

        Raises:
            UsageError: The run has no output.

        Source: SLSA specification v1.0, Provenance.
        """
        if not self.outputs:
            raise UsageError(
                f"run {self.name!r}: expected an output, got none; call run.add_output(path) first"
            )
        return Statement.build(
            subjects=_subjects(self.outputs),
            predicate_type=SLSA_PROVENANCE,
            predicate={"buildDefinition": self._definition(), "runDetails": self._details()},
        )

    def _definition(self) -> dict[str, Any]:
        return {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "entryPoint": self.name,
                "hyperparameters": self.hyperparameters,
            },
            "internalParameters": {
                **(self._facts or {**platform_facts(), **framework_facts()}),
                "parentRun": self._parent,
            },
            "resolvedDependencies": [
                *(dataset_descriptor(data) for data in self.datasets),
                self._code,
                *packages(),
            ],
        }

    def _details(self) -> dict[str, Any]:
        times = {"startedOn": _stamp(self._started)}
        if self._finished is not None:
            times["finishedOn"] = _stamp(self._finished)
        return {
            "builder": {"id": self.builder},
            "metadata": {"invocationId": f"urn:uuid:{self.id}", **times},
            "byproducts": [_outcome(self.state, self.failure)],
        }


def _subjects(outputs: Iterable[Manifest]) -> dict[str, Digest]:
    subjects = {output.name: output.root for output in outputs}
    for output in outputs:
        if output.single:
            [entry] = output.entries
            subjects.setdefault(f"{output.name}{FILE_SUBJECT}", entry.digest)
    return subjects


def _outcome(state: RunState, failure: str | None) -> dict[str, Any]:
    """Resource descriptor of a run's outcome, with it as content."""
    known = {"state": state.value, "failure": failure}
    return {
        "name": "outcome",
        "mediaType": "application/json",
        "content": base64.b64encode(json.dumps(known).encode()).decode(),
        "annotations": known,
    }


def dataset_descriptor(data: Manifest) -> dict[str, Any]:
    """Resource descriptor of a data set (SLSA `resolvedDependencies`)."""
    root: Digest = data.root
    return {
        "name": data.name,
        "digest": {root.algorithm: root.hex},
        "annotations": {"kind": "dataset", "entries": len(data), "bytes": data.size},
    }


def _data_by_name(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse data itself among manifests, and say how it gets a name."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = kwargs.get("datasets")
        for data in given if isinstance(given, (list, tuple)) else ():
            if not isinstance(data, (*_DATA, bytes, int)):
                raise UsageError(
                    f"datasets: expected a list of manifests or paths, got {shown(data)} in it; "
                    "give data itself a name: datasets=[hash_dataset(data, name=…)]"
                )
        return function(*args, **kwargs)

    return call


@_data_by_name
@checked
@contextmanager
def training_run(
    name: str,
    *,
    datasets: Iterable[Manifest | str | os.PathLike[str]] = (),
    hyperparameters: Mapping[str, Any] | None = None,
    code: str | os.PathLike[str] | None = None,
    clock: Clock = utc_now,
    keep: Iterable[str] = (),
    builder: str | None = None,
) -> Iterator[TrainingRun]:
    """Record the data, parameters, code and outputs of a training run.

    Args:
        name: Name of the training.
        datasets: Manifests, or paths that are hashed now.
        hyperparameters: JSON values; numpy scalars, paths and enums become plain values.
        code: A folder in the code's repository; by default that of the current folder or script.
        clock: Current time, timezone-aware.
        keep: Names of hyperparameters (`"db.url"` for inner ones) to record although their name or
            value looks like a secret; others are recorded as `[redacted]`, with a warning.
        builder: URI of the platform that runs it; by default that of `builder_id`: the workflow of
            GitHub Actions, the runner of GitLab CI, `MLSECOPS_BUILDER_ID`, or this host.

    Raises:
        UsageError: A data set cannot be read, a hyperparameter is not plain, or an argument has
            another type.

    Examples:
        >>> import numpy as np
        >>> from mlsecops.provenance import hash_dataset
        >>> data = hash_dataset(np.arange(4), name="numbers")
        >>> with training_run("sum", datasets=[data], hyperparameters={"lr": 0.1}) as run:
        ...     pass
        >>> run.state.value, run.datasets[0].name
        ('succeeded', 'numbers')
    """
    run = TrainingRun(
        name,
        datasets=datasets,
        hyperparameters=hyperparameters or {},
        code=code_folder() if code is None else Path(code),
        clock=clock,
        keep=several("keep", keep, "names of hyperparameters", str),
        builder=builder,
    )
    token = _current.set(run)
    try:
        yield run
    except BaseException as error:
        run.finish(failure=error)
        raise
    finally:
        _current.reset(token)
        run.finish()


def current_run() -> TrainingRun | None:
    """The innermost open run of this context."""
    return _current.get()


@called_first('@tracked("NAME")')
@_data_by_name
@checked
def tracked(
    name: str,
    *,
    datasets: Iterable[Manifest | str | os.PathLike[str]] = (),
    code: str | os.PathLike[str] | None = None,
    clock: Clock = utc_now,
    keep: Iterable[str] = (),
    builder: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a training function: each call is a run with its plain arguments as hyperparameters.

    Inside the function, `current_run` returns the run, for outputs. Arguments that are not plain
    JSON values (data, models) are left out, and those that look like secrets are recorded as
    `[redacted]` unless `keep` names them. The run of a coroutine function ends when its coroutine
    does.

    Raises:
        UsageError: The function is a generator, which may never end, or an argument has another
            type.

    Examples:
        >>> @tracked("sum")
        ... def train(rate): return current_run().hyperparameters
        >>> train(rate=0.1)
        {'rate': 0.1}
    """
    inputs = several("datasets", datasets, "manifests or paths", _DATA)
    kept = several("keep", keep, "names of arguments", str)

    def hooks(function: Callable[..., Any]) -> Hooks:
        named = arguments_by_name(function, defaults=True)

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
            plain = {key: item for key, item in named(args, kwargs).items() if is_plain(item)}
            run = training_run(
                name, datasets=inputs, hyperparameters=plain, code=code, clock=clock, keep=kept,
                builder=builder,
            )  # fmt: skip
            run.__enter__()
            return run

        return Hooks(
            before=begin,
            after=_ended,
            failed=_failed,
            no_steps="open training_run(…) inside it instead",
        )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return cast("Callable[P, R]", wrap(function, hooks, decorator="tracked"))

    return decorate


def _ended(run: AbstractContextManager[Any], result: Any) -> Any:
    run.__exit__(None, None, None)
    return result


def _failed(run: AbstractContextManager[Any], error: BaseException) -> None:
    run.__exit__(type(error), error, error.__traceback__)


def _manifests(datasets: Iterable[Manifest | str | os.PathLike[str]]) -> tuple[Manifest, ...]:
    given = several("datasets", datasets, "manifests or paths", _DATA)
    return tuple(data if isinstance(data, Manifest) else hash_path(data) for data in given)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
