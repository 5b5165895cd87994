"""How a model is loaded when its bytes are not trusted yet.

A path comes in; its bytes are copied to where nobody can change them and hashed meanwhile, the
signature is held against that hash, the content against the rules, and only then a framework
reads the same copy.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import DigestMismatch, FormatRefused, Isolated, UsageError
from mlsecops.loading.decode import Framework, Request, decode
from mlsecops.loading.formats import Format, is_companion
from mlsecops.loading.limits import Limits
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import TIERS, Snapshot, Tier, snapshot
from mlsecops.loading.verdict import Examination
from mlsecops.provenance import Digest, Entry, Isolation, Manifest
from mlsecops.provenance.hashing import Found, hash_files
from mlsecops.provenance.tree import list_tree
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
        tier: How the bytes were held (``"sealed"`` or ``"private-copy"``).
        format: Format by content.
    """

    model: Any = field(repr=False)
    adapter: Adapter | None = field(repr=False)
    digest: Digest
    verified: Verified
    tier: Tier
    format: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """The files of an artifact: the one to load, the others, and those that are hidden."""

    name: str
    model: Found
    companions: dict[str, Found]
    hidden: tuple[str, ...]
    single: bool


class SecureLoader:
    """Loads models that a policy vouches for, and no others.

    Args:
        policy: Who may vouch for a model.
        tier: How bytes are held between the check and the use; ``"sealed"`` becomes
            ``"private-copy"`` where the system has no sealed memory, and the result says so.
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
    ) -> LoadedModel:
        """Verify, scan and load a model file, or a folder with one model file.

        Args:
            path: The file or folder; in a folder, documentation and settings may lie beside the
                model file and are covered by the signature too.
            framework: ``"torch"`` or ``"numpy"`` for safetensors; elsewhere the format's own.
            into: The caller's torch module or Keras model to fill; names and shapes must fit.
            bundle: The signature; by default ``DIR/model.sig``, or ``FILE.sig`` beside a file.
            device: Where torch tensors go.
            digest: Root digest of the very model that is meant, as a registry's version has it;
                another model is refused, whoever signed it.

        Raises:
            SignatureError: There is no bundle, or it does not hold.
            PolicyError: It holds, but not as the policy demands; or an incident isolated it.
            DigestMismatch: A file was added, removed or changed.
            UnsafeContent: The content could run code or reach outside.
            FormatRefused: The format is malformed, not loadable, or not what the name claims.
            LimitExceeded: It declares more than the limits allow.
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
        with self._acquire(path, signed, place) as (layout, held):
            actual = _manifest(layout, held, signed.manifest.algorithm)
            hidden = without_bundle(layout.hidden, Path(path), place)
            verified = verifier.match(signed, actual, where=os.fspath(path), ignored=hidden)
            self._policy.require_not_revoked(held.digest)
            self._require_not_isolated(held.digest, os.fspath(path))
            found, examination = self._scan(held)
            model = decode(
                found,
                Request(
                    source=held.source,
                    framework=framework,
                    into=into,
                    device=device,
                    globals=examination.globals,
                ),
            )
        return LoadedModel(
            model=model,
            adapter=_adapter(model),
            digest=verified.digest,
            verified=verified,
            tier=held.tier,
            format=found,
        )

    @contextlib.contextmanager
    def _acquire(
        self, path: str | os.PathLike[str], signed: SignedModel, place: Path
    ) -> Iterator[tuple[_Layout, Snapshot]]:
        layout = _layout(path, ignore_for(path, signed.ignore_paths, place))
        with snapshot(
            layout.model.path,
            name=layout.name,
            tier=self._tier,
            algorithm=signed.manifest.algorithm,
            limits=self._limits,
        ) as held:
            yield layout, held

    def _scan(self, held: Snapshot) -> tuple[Format, Examination]:
        verdict, examination = examine(
            held.source, allow_globals=self._allow_globals, limits=self._limits
        )
        verdict.require()
        if verdict.unchecked:
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


def _layout(path: str | os.PathLike[str], ignore: tuple[str, ...]) -> _Layout:
    real = Path(os.path.realpath(path))
    if not real.is_dir():
        return _Layout(Path(path).name, Found(str(real), 0), {}, (), single=True)
    tree = list_tree(real, ignore=ignore)
    models = [name for name in tree.files if not is_companion(name)]
    if len(models) != 1:
        shown = ", ".join(models[:5]) or "none"
        raise FormatRefused(
            f"{os.fspath(path)}: expected one model file beside documentation and settings, got "
            f"{shown}; name the file to load, or keep the others elsewhere"
        )
    companions = {name: found for name, found in tree.files.items() if name != models[0]}
    return _Layout(models[0], tree.files[models[0]], companions, tree.ignored, single=False)


def _manifest(layout: _Layout, held: Snapshot, algorithm: str) -> Manifest:
    """Manifest of what is there: the snapshot's own digest for the file that will be read."""
    entries = [Entry(layout.name, held.digest, held.source.size)]
    digests = hash_files(list(layout.companions.values()), algorithm=algorithm)
    entries += [
        Entry(name, digest, found.size)
        for (name, found), digest in zip(layout.companions.items(), digests, strict=True)
    ]
    entries.sort(key=lambda entry: entry.name)
    return Manifest(
        name=layout.name, algorithm=algorithm, entries=tuple(entries), single=layout.single
    )


def _adapter(model: Any) -> Adapter | None:
    try:
        return adapt(model)
    except UsageError:
        return None  # tensors or arrays: there is nothing to call
