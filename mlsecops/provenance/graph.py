"""Lineage graph: derivations between digests, read from provenance statements.

    statements of training runs → Lineage → models made from a data set, sources of a model

The graph trusts its input: pass the statements of a verified bundle (`Verified.statements`) where
it matters who made them.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mlsecops._choices import checked
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import MalformedBundle, UsageError
from mlsecops.provenance.digest import SIZES, Digest
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.statement import FILE_SUBJECT, SLSA_PROVENANCE, Statement

MAX_BUNDLE_BYTES: Final = 256 << 20  # bytes; chosen: holds the names of a million files


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An input or output of a run.

    Attributes:
        digest: Digest by which it is known; of an output the root of its manifest.
        name: Name in the statement.
        kind: `"dataset"`, `"output"`, or `"material"`, a dependency of another kind.
        file: Digest of its bytes, if it is a single file and the statement has it too.
    """

    digest: Digest
    name: str
    kind: str
    file: Digest | None = None

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Digests by which it is known."""
        return (self.digest,) if self.file is None else (self.digest, self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRun:
    """One run with its inputs and outputs.

    Attributes:
        id: The run's id, or the digest of its statement if that names none.
        name: Entry point of the run.
        parent: Id of the enclosing run, or None.
        failed: Whether the statement reports a failure.
        at: End of the run, else its start, in ISO 8601; empty if unknown.
        started: Start of the run, else its end, in ISO 8601; empty if unknown.
        inputs: Inputs with a digest.
        outputs: Subjects of the statement.
        statement: Source of these values.
    """

    id: str
    name: str
    parent: str | None
    failed: bool
    at: str
    started: str
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    statement: Statement


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Derivations between digests.

    Attributes:
        steps: The runs, without repetition, in the given order.

    Examples:
        >>> from mlsecops.provenance import Digest
        >>> Lineage.of([]).models_from(Digest.of(b"data"))
        ()
    """

    steps: tuple[LineageRun, ...]

    @classmethod
    @checked
    def of(cls, statements: Iterable[Statement]) -> Self:
        """Build the graph from provenance statements; other statements are ignored."""
        steps: dict[str, LineageRun] = {}
        for statement in statements:
            if statement.predicate_type == SLSA_PROVENANCE:
                step = _step(statement)
                steps.setdefault(_key(step), step)
        return cls(steps=tuple(steps.values()))

    @classmethod
    def load(cls, *paths: str | os.PathLike[str]) -> Self:
        """Build the graph from files: bare statements, DSSE envelopes or bundles.

        Signatures are not checked: verify a bundle and pass `Verified.statements` to `of` where it
        matters who signed.

        Raises:
            MalformedBundle: A file is none of these.
            UsageError: A file cannot be read.
        """
        return cls.of(statement for path in paths for statement in read_statements(path))

    def models_from(self, digest: Digest) -> tuple[Node, ...]:
        """Outputs derived from this digest, directly or through further runs."""
        return self._follow(digest, forward=True)

    def sources_of(self, digest: Digest) -> tuple[Node, ...]:
        """Inputs that this digest was derived from, directly or through earlier runs."""
        return self._follow(digest, forward=False)

    def datasets_of(self, digest: Digest) -> tuple[Node, ...]:
        """Data sets among `sources_of`."""
        return tuple(node for node in self.sources_of(digest) if node.kind == "dataset")

    def runs_of(self, digest: Digest) -> tuple[LineageRun, ...]:
        """Runs with this digest among their outputs."""
        return tuple(step for step in self.steps if _holds(step.outputs, digest))

    def inside(self, run: str) -> tuple[LineageRun, ...]:
        """Runs nested in a run at any depth, by its id."""
        found: list[LineageRun] = []
        parents = {run}
        while fresh := [
            step for step in self.steps if step.parent in parents and step not in found
        ]:
            found += fresh
            parents |= {step.id for step in fresh}
        return tuple(found)

    def holds(self, digest: Digest) -> bool:
        """Whether a run has this digest among its inputs or outputs."""
        return any(_holds((*step.inputs, *step.outputs), digest) for step in self.steps)

    def _follow(self, digest: Digest, *, forward: bool) -> tuple[Node, ...]:
        after: dict[Digest, list[Node]] = {}
        for step in self.steps:
            ends = (step.inputs, step.outputs) if forward else (step.outputs, step.inputs)
            for node in ends[0]:
                for each in node.digests:
                    after.setdefault(each, []).extend(ends[1])
        reached: dict[Digest, Node] = {}
        waiting, seen = deque([digest]), {digest}
        while waiting:
            for node in after.get(waiting.popleft(), ()):
                reached.setdefault(node.digest, node)
                waiting += [each for each in node.digests if each not in seen]
                seen.update(node.digests)
        return tuple(node for node in reached.values() if digest not in node.digests)


def read_statements(path: str | os.PathLike[str]) -> tuple[Statement, ...]:
    """Read the statements of a file: a bare one, or those of a DSSE envelope or a bundle.

    Raises:
        MalformedBundle: The file is none of these, or larger than `MAX_BUNDLE_BYTES`.
        UsageError: It cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        data = stream.read(MAX_BUNDLE_BYTES + 1)
    return statements_in(data, where=os.fspath(path))


def statements_in(data: bytes, *, where: str) -> tuple[Statement, ...]:
    """The statements of a file's bytes, as of `read_statements`."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise MalformedBundle(f"{where}: expected at most {MAX_BUNDLE_BYTES} bytes")
    value = parse_object(data, what=where, error=MalformedBundle)
    if "_type" in value:
        return _with_nested(Statement(data), where)
    envelope = value.get("dsseEnvelope", value)
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    return _with_nested(Statement(_decoded(payload, where)), where)


def _with_nested(statement: Statement, where: str) -> tuple[Statement, ...]:
    """The statement and those that a model signature carries inside, as base64."""
    nested = statement.predicate.get("statements", [])
    if not isinstance(nested, list):
        raise MalformedBundle(f"{where}: expected statements to be a list")
    return (statement, *(Statement(_decoded(item, where)) for item in nested))


def _decoded(text: object, where: str) -> bytes:
    try:
        if not isinstance(text, str):
            raise MalformedBundle(f"{where}: expected a statement, an envelope or a bundle")
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle(f"{where}: a payload is not base64: {error}") from error


def _key(step: LineageRun) -> str:
    """Id with the digest of the statement, so that a forged id cannot replace another run."""
    return f"{step.id} {Digest.of(step.statement.payload)}"


def _holds(nodes: Iterable[Node], digest: Digest) -> bool:
    return any(digest in node.digests for node in nodes)


def _step(statement: Statement) -> LineageRun:
    definition = _object(statement.predicate.get("buildDefinition"))
    details = _object(statement.predicate.get("runDetails"))
    metadata = _object(details.get("metadata"))
    external = _object(definition.get("externalParameters"))
    parent = _object(definition.get("internalParameters")).get("parentRun")
    identity = metadata.get("invocationId") or f"urn:{Digest.of(statement.payload)}"
    return LineageRun(
        id=str(identity).removeprefix("urn:uuid:"),
        name=str(external.get("entryPoint", "")),
        parent=parent if isinstance(parent, str) else None,
        failed=any(
            _object(item.get("annotations")).get("state") == "failed"
            for item in _objects(details.get("byproducts"))
        ),
        at=str(metadata.get("finishedOn") or metadata.get("startedOn") or ""),
        started=str(metadata.get("startedOn") or metadata.get("finishedOn") or ""),
        inputs=tuple(_inputs(_objects(definition.get("resolvedDependencies")))),
        outputs=_outputs(statement.subjects),
        statement=statement,
    )


def _outputs(subjects: Mapping[str, Digest]) -> tuple[Node, ...]:
    """Subjects; that of a single file's bytes is joined with that of its root."""
    return tuple(
        Node(digest=digest, name=name, kind="output", file=subjects.get(f"{name}{FILE_SUBJECT}"))
        for name, digest in subjects.items()
        if not (name.endswith(FILE_SUBJECT) and name.removesuffix(FILE_SUBJECT) in subjects)
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [_object(item) for item in value] if isinstance(value, list) else []


def _inputs(dependencies: list[dict[str, Any]]) -> Iterator[Node]:
    for item in dependencies:
        annotations = _object(item.get("annotations"))
        if annotations.get("digestOf"):  # a digest of a package's RECORD is no data
            continue
        for algorithm, value in _object(item.get("digest")).items():
            if algorithm in SIZES:
                name = str(item.get("name") or item.get("uri") or "")
                kind = "dataset" if annotations.get("kind") == "dataset" else "material"
                yield Node(digest=_digest(algorithm, value), name=name, kind=kind)


def _digest(algorithm: str, value: object) -> Digest:
    try:
        return Digest.parse(f"{algorithm}:{value}")
    except UsageError as error:
        raise MalformedBundle(f"provenance: a dependency's digest: {error}") from error
