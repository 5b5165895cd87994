"""How a model is loaded when its bytes are not trusted yet.

A path comes in; its bytes are held where nobody can change them unnoticed and hashed meanwhile,
the signature is held against that hash, the content against the rules, and only then a framework
reads the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import DigestMismatch, FormatRefused, Isolated, UsageError
from mlsecops.loading.decode import Framework, Request, decode, fill, join_shards
from mlsecops.loading.formats import CODE, Format
from mlsecops.loading.layout import Layout, layout, require_beside, shards
from mlsecops.loading.limits import Limits
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import TIERS, Snapshot, Source, Tier, snapshot
from mlsecops.loading.verdict import Examination
from mlsecops.provenance import Digest, Entry, Isolation, Manifest
from mlsecops.provenance.hashing import hash_files
from mlsecops.signing import (
    SignedModel,
    TrustPolicy,
    Verified,
    Verifier,
    bundle_path,
    ignore_for,
    read_bundle,
    without_bundle,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model whose very bytes were verified, scanned and then read.

    Attributes:
        model: The caller's model, filled (``into=``); the model itself (``.keras``); a mapping of
            name to tensor or array (safetensors, state dicts, ``.npz``); an array (``.npy``).
        adapter: View of the model, or None where there are only tensors.
        digest: Root digest of the signed model.
        verified: Who vouched for what.
        tier: How the bytes were held; where files differ, the tier that promises least.
        format: Format by content.
    """

    model: Any = field(repr=False)
    adapter: Adapter | None = field(repr=False)
    digest: Digest
    verified: Verified
    tier: Tier
    format: str


class SecureLoader:
    """Loads models that a policy vouches for, and no others.

    Args:
        policy: Who may vouch for a model.
        tier: How bytes are held between the check and the use. ``"sealed"`` copies them into
            sealed memory; ``"pinned"`` leaves them where they are and makes the kernel hold
            writers back, and tell. ``"pinned"`` becomes ``"sealed"`` where the file cannot be
            leased, that ``"private-copy"`` where the system has no sealed memory; the result says.
        allow_globals: Audited names that pickles and Keras configurations may use besides the
            built-in lists.
        limits: Ceilings; the defaults otherwise.
        isolation: Who knows which digests an incident isolated (a registry).

    Raises:
        UsageError: The tier is unknown.
    """

    def __init__(
        self,
        policy: TrustPolicy,
        *,
        tier: Tier = "sealed",
        allow_globals: Collection[str] = (),
        limits: Limits | None = None,
        isolation: Isolation | None = None,
    ) -> None:
        if tier not in TIERS:
            raise UsageError(f"unknown tier {tier!r}: expected one of {', '.join(TIERS)}")
        self._policy = policy
        self._tier: Tier = tier
        self._allow_globals = tuple(allow_globals)
        self._limits = limits or Limits()
        self._isolation = isolation

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        framework: Framework | None = None,
        into: Any = None,
        bundle: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        digest: Digest | None = None,
        file: str | None = None,
    ) -> LoadedModel:
        """Verify, scan and load a model file, or a folder with one model.

        Args:
            path: The file or folder; in a folder, documentation and settings may lie beside the
                model and are covered by the signature too.
            framework: ``"torch"`` or ``"numpy"`` for safetensors; elsewhere the format's own.
            into: The caller's torch module or Keras model to fill; names and shapes must fit.
            bundle: The signature; by default ``DIR/model.sig``, or ``FILE.sig`` beside a file.
            device: Where torch tensors go.
            digest: Root digest of the very model that is meant, as a registry's version has it;
                another model is refused, whoever signed it.
            file: Which file of a folder is the model, or the index of its shards, where there are
                several; the signature covers the others too, and they are not read.

        Raises:
            SignatureError: There is no bundle, or it does not hold.
            PolicyError: It holds, but not as the policy demands; or an incident isolated it.
            DigestMismatch: A file was added, removed or changed.
            UnsafeContent: The content could run code or reach outside.
            FormatRefused: The format is malformed, not loadable, or not what the name claims.
            LimitExceeded: It declares more than the limits allow.
            ChangedDuringLoad: Somebody changed a file meanwhile, or asked to (pinned tier).
            FrameworkTooOld: The installed framework is known to be unsafe for the format.
            UsageError: The path cannot be read, or an option does not fit the format.
        """
        place = bundle_path(path) if bundle is None else Path(bundle)
        verifier = Verifier(self._policy)
        signed = verifier.open(read_bundle(place), where=os.fspath(place))
        if digest is not None and signed.manifest.root != digest:
            raise DigestMismatch(
                f"{os.fspath(path)}: expected {digest}, got {signed.manifest.root}: "
                "another signed model is in its place"
            )
        self._require_not_isolated(signed.manifest.root, os.fspath(path))
        files = layout(path, ignore=ignore_for(path, signed.ignore_paths, place), file=file)
        with self._held(files, signed) as held:
            actual = _manifest(files, held, signed.manifest.algorithm)
            hidden = without_bundle(files.hidden, Path(path), place)
            verified = verifier.match(signed, actual, where=os.fspath(path), ignored=hidden)
            for name in held.sources:
                self._policy.require_not_revoked(held.digest(name))
                self._require_not_isolated(held.digest(name), os.fspath(path))
            request = Request(
                source=held.sources[files.main],
                framework=framework,
                into=into,
                device=device,
                allowed=self._allow_globals,
                limits=self._limits,
                lasting=held.lasting,
                confirm=held.confirm,
            )
            found, model = self._read(files, held, request)
        return LoadedModel(
            model=model,
            adapter=_adapter(model),
            digest=verified.digest,
            verified=verified,
            tier=held.tier,
            format=found,
        )

    def _held(
        self, files: Layout, signed: SignedModel
    ) -> contextlib.AbstractContextManager[Snapshot]:
        return snapshot(
            {name: found.path for name, found in files.read.items()},
            tier=self._tier,
            algorithm=signed.manifest.algorithm,
            limits=self._limits,
        )

    def _read(self, files: Layout, held: Snapshot, request: Request) -> tuple[Format, Any]:
        if files.kind == "shards":
            return self._read_shards(files, held, request)
        found, examination = self._scan(request.source)
        beside = {name: each for name, each in held.sources.items() if name != files.main}
        if files.kind != "savedmodel":  # TensorFlow looks up what it needs by its own names
            require_beside(request.source, examination.beside, beside)
        wanted = dataclasses.replace(request, globals=examination.globals, beside=beside)
        return found, decode(found, wanted)

    def _read_shards(
        self, files: Layout, held: Snapshot, request: Request
    ) -> tuple[Format, dict[str, Any]]:
        names = frozenset(files.read) - {files.main}
        placed = shards(request.source, names, limits=self._limits)
        scanned = {name: self._scan(held.sources[name]) for name in sorted(names)}
        formats = {found for found, _ in scanned.values()}
        if len(formats) != 1:
            raise FormatRefused(
                f"{files.main}: expected shards of one format, got {', '.join(sorted(formats))}"
            )
        parts = {
            name: decode(
                found,
                dataclasses.replace(
                    request, source=held.sources[name], globals=examination.globals, into=None
                ),
            )
            for name, (found, examination) in scanned.items()
        }
        return formats.pop(), fill(request, join_shards(parts, placed))

    def _scan(self, source: Source) -> tuple[Format, Examination]:
        verdict, examination = examine(
            source, allow_globals=self._allow_globals, limits=self._limits
        )
        verdict.require()
        # Code that the caller allows by name cannot be analysed: the signature vouches for it.
        trusted_code = verdict.format in CODE and verdict.format in self._allow_globals
        if verdict.unchecked and not trusted_code:
            item = verdict.unchecked[0]
            raise FormatRefused(f"{item.what} was not checked ({item.why}), so it is not loaded")
        return Format(verdict.format), examination

    def _require_not_isolated(self, digest: Digest, where: str) -> None:
        reason = None if self._isolation is None else self._isolation.isolated(digest)
        if reason is not None:
            raise Isolated(
                f"{where}: {digest} is isolated: {reason}; load another version, "
                "or close the incident first"
            )


def _manifest(files: Layout, held: Snapshot, algorithm: str) -> Manifest:
    """Manifest of what is there: the snapshot's own digests for the files that will be read."""
    entries = [Entry(name, held.digest(name), source.size) for name, source in held.sources.items()]
    digests = hash_files(list(files.beside.values()), algorithm=algorithm)
    entries += [
        Entry(name, digest, found.size)
        for (name, found), digest in zip(files.beside.items(), digests, strict=True)
    ]
    entries.sort(key=lambda entry: entry.name)
    return Manifest(
        name=files.main, algorithm=algorithm, entries=tuple(entries), single=files.single
    )


def _adapter(model: Any) -> Adapter | None:
    try:
        return adapt(model)
    except UsageError:
        return None  # tensors or arrays: there is nothing to call
