"""Secure loader: verifies, scans and decodes one snapshot of a model's bytes.

path → layout → snapshot, hashed while it is taken → verify → scan → decode → LoadedModel
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsecops._budget import Budget, spending
from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import DigestMismatch, FormatRefused, UsageError
from mlsecops.loading.artifact import (
    ArtifactLayout,
    layout,
    require_alone,
    require_external,
    scanned_parts,
    shards,
)
from mlsecops.loading.detection import CODE, Format
from mlsecops.loading.holding.scanning import held_format, require_checked, scan_held
from mlsecops.loading.holding.taking import taken
from mlsecops.loading.limits import Limits
from mlsecops.loading.loaded import HeldModel, LoadedModel
from mlsecops.loading.readers.decode import Framework, Request, decode, fill, join_shards
from mlsecops.loading.recheck import Notify, Watch, require_not_isolated
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import Snapshot, Source, Tier
from mlsecops.loading.telemetry import LoadRecord, recorded
from mlsecops.loading.verdict import Examination
from mlsecops.provenance import Digest, Isolation
from mlsecops.signing import (
    TrustPolicy,
    Verified,
    Verifier,
    bundle_path,
    expected_name,
    ignore_for,
    read_bundle,
    without_bundle,
)
from mlsecops.signing.naming import ExpectedName


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """Held files that the signature covers."""

    files: ArtifactLayout
    held: Snapshot
    verified: Verified
    bundle: bytes
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Options of a load; see `SecureLoader.load`."""

    file: str | None
    digest: Digest | None
    name: str | None = None
    framework: Framework | None = None
    into: Any = None
    device: str = "cpu"
    in_folder: bool = False  # for a reader of the caller's


@concise_repr("_tier", "_policy", "_allow_globals")
class SecureLoader:
    """Loads models that a policy vouches for, and no others.

    Args:
        policy: Who may sign a model.
        tier: How bytes are held between the check and the use. `"sealed"` copies them into
            sealed memory; `"pinned"` leaves them in the file and makes the kernel hold back
            writers and report them. `"pinned"` falls back to `"sealed"` where the file cannot be
            leased, and `"sealed"` to `"private-copy"` where the system has no sealed memory; the
            result names the tier.
        allow_globals: Audited names that pickles and Keras configurations may use besides the
            built-in lists.
        limits: Ceilings of sizes and counts; the defaults otherwise.
        isolation: Source of isolated digests (a registry).

    Raises:
        UsageError: The tier is unknown.

    Examples:
        >>> from mlsecops.signing import Signer
        >>> policy = TrustPolicy(keys=[Signer.generate("p256").public_key])
        >>> loader = SecureLoader(policy, tier="pinned")
    """

    @checked
    def __init__(
        self,
        policy: TrustPolicy,
        *,
        tier: Tier = "sealed",
        allow_globals: Collection[str] = (),
        limits: Limits | None = None,
        isolation: Isolation | None = None,
    ) -> None:
        self._policy = policy
        self._tier: Tier = tier
        self._allow_globals = tuple(allow_globals)
        self._limits = limits or Limits()
        self._isolation = isolation

    @checked
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
        name: str | None = None,
    ) -> LoadedModel:
        """Verify, scan and load a model file, or a folder with one model.

        Args:
            path: The file or folder; a folder may also hold documentation and settings, which
                the signature covers too.
            framework: `"torch"` or `"numpy"` for safetensors; elsewhere the format's own.
            into: The caller's torch module or Keras model to fill; names and shapes must fit.
            bundle: The signature; by default `DIR/model.sig`, or `FILE.sig` for a file.
            device: Device of torch tensors.
            digest: Root digest of the one accepted model, as a registry's version has it; another
                model is refused, whoever signed it.
            file: Which file of a folder is the model, or the index of its shards, where there are
                several; the others are covered by the signature and not read.
            name: Name that the model must be signed under. Without it and without `digest`, a
                policy that restricts keys or version floors by model name demands the folder's or
                file's own name.

        Raises:
            SignatureError: There is no bundle, or it does not hold.
            PolicyError: The policy does not accept it, or an incident isolated the model.
            DigestMismatch: A file was added, removed or changed.
            UnsafeContent: The content could run code or reach outside.
            FormatRefused: The format is malformed, not loadable, or not what the name claims.
            LimitExceeded: It declares more than the limits allow.
            ChangedDuringLoad: Somebody changed a file meanwhile, or tried to (pinned tier).
            FrameworkTooOld: The installed framework is known to be unsafe for the format.
            UsageError: The path cannot be read, or an option does not fit the format.
        """
        wanted = _Wanted(
            file=file, digest=digest, name=name, framework=framework, into=into, device=device
        )
        with recorded(Path(path).name) as record:
            return self._load(
                path, bundle_path(path) if bundle is None else Path(bundle), wanted, record
            )

    @checked
    @contextlib.contextmanager
    def hold(
        self,
        path: str | os.PathLike[str],
        *,
        bundle: str | os.PathLike[str] | None = None,
        digest: Digest | None = None,
        file: str | None = None,
        name: str | None = None,
        allow_unchecked: bool = False,
    ) -> Iterator[HeldModel]:
        """Verify and scan a model, and hold all its files for the caller's reader.

        For programs that take a path or a folder, and for formats that this library does not load.
        The folder may hold several models. It is there until the block ends.

        Args:
            path: As for `load`.
            bundle: As for `load`.
            digest: As for `load`.
            file: Which file of a folder `HeldModel.path` leads to.
            name: As for `load`.
            allow_unchecked: Whether to hold what the scan does not look into (formats that it does
                not know); `HeldModel.unchecked` and the event name it.

        Yields:
            The model, in a folder that holds the checked files and nothing else.

        Raises:
            ChangedDuringLoad: Somebody changed a file meanwhile, or tried to. It may be raised at
                the end of the block; what was read must not be used then.
            MLSecOpsError: As `load` raises before it decodes.
        """
        wanted = _Wanted(file=file, digest=digest, name=name, in_folder=True)
        place = bundle_path(path) if bundle is None else Path(bundle)
        with contextlib.ExitStack() as stack:
            with recorded(Path(path).name) as record:
                checked = stack.enter_context(self._checked(path, place, wanted, record))
                with record.step("scan"), spending(self._budget(checked.held)):
                    each = scan_held(
                        checked.held.sources,
                        allow_globals=self._allow_globals,
                        limits=self._limits,
                    )
                found = held_format(checked.files, checked.held, each, limits=self._limits)
                record.note(format=found)
                record.add("exceptions", (n for _, one in each.values() for n in one.exceptions))
                unchecked = require_checked(each, allow_unchecked=allow_unchecked)
                record.add("unchecked", (item.what for item in unchecked))
            yield HeldModel(
                path=f"{checked.folder}/{checked.files.main}".rstrip("/"),
                folder=checked.folder,
                digest=checked.verified.digest,
                verified=checked.verified,
                tier=checked.held.tier,
                format=found,
                unchecked=unchecked,
            )

    @checked
    def watch(
        self,
        loaded: LoadedModel,
        *,
        interval: float = 60.0,
        policy: Callable[[], TrustPolicy] | None = None,
        notify: Notify | None = None,
    ) -> Watch:
        """Repeat the checks of a load at an interval while the model is in use.

        Args:
            loaded: The model.
            interval: Seconds between checks, > 0.
            policy: Returns the current policy, so that later revocations are seen; by default
                this loader's, which does not change.
            notify: Called with the error when the model becomes unusable.

        Raises:
            UsageError: The interval is not positive.
        """
        if interval <= 0:
            raise UsageError(f"interval: expected more than 0 seconds, got {interval}")
        return Watch(
            loaded,
            policy=policy or (lambda: self._policy),
            isolation=self._isolation,
            interval=interval,
            notify=notify,
        )

    def _load(
        self, path: str | os.PathLike[str], place: Path, wanted: _Wanted, record: LoadRecord
    ) -> LoadedModel:
        with self._checked(path, place, wanted, record) as checked:
            request = Request(
                source=checked.held.sources[checked.files.main],
                framework=wanted.framework,
                into=wanted.into,
                device=wanted.device,
                allowed=self._allow_globals,
                limits=self._limits,
                lasting=checked.held.lasting,
                confirm=checked.held.confirm,
            )
            found, model = self._read(checked.files, checked.held, request, record)
        return LoadedModel(
            model=model,
            adapter=_adapter(model),
            digest=checked.verified.digest,
            verified=checked.verified,
            tier=checked.held.tier,
            format=found,
            bundle=checked.bundle,
            expected=_expected(path, wanted),
        )

    @contextlib.contextmanager
    def _checked(
        self, path: str | os.PathLike[str], place: Path, wanted: _Wanted, record: LoadRecord
    ) -> Iterator[_Checked]:
        """Hold the files of a model, and demand that their signature covers the held bytes."""
        where = os.fspath(path)
        verifier = Verifier(self._policy)
        with record.step("verify"):
            bundle = read_bundle(place)
            expected = _expected(path, wanted)
            signed = verifier.open(bundle, where=os.fspath(place), expected=expected)
            record.note(digest=str(signed.manifest.root), signers=signed.signers)
            _require_meant(signed.manifest.root, wanted.digest, where)
            require_not_isolated(signed.manifest.root, self._isolation, where=where)
        files = layout(
            path,
            ignore=ignore_for(path, signed.ignore_paths, place),
            file=wanted.file,
            whole=wanted.in_folder,
        )
        with contextlib.ExitStack() as stack:
            with record.step("hold"):
                holding = taken(
                    files,
                    signed.manifest,
                    tier=self._tier,
                    limits=self._limits,
                    in_folder=wanted.in_folder,
                )
                whole = stack.enter_context(holding)
                files, held = whole.files, whole.held
                record.note(tier=held.tier, bytes=held.size)
            actual = files.manifest(held, algorithm=signed.manifest.algorithm)
            hidden = without_bundle(files.hidden, Path(path), place)
            verified = verifier.match(signed, actual, where=where, ignored=hidden)
            for name in held.sources:
                require_not_isolated(held.digests[name], self._isolation, where=where)
            yield _Checked(
                files=files, held=held, verified=verified, bundle=bundle, folder=whole.folder
            )

    def _read(
        self, files: ArtifactLayout, held: Snapshot, request: Request, record: LoadRecord
    ) -> tuple[Format, Any]:
        found, examined = self._examined(files, held, record)
        if files.kind == "shards":
            placed = shards(request.source, frozenset(examined), limits=self._limits)
            with record.step("decode"), spending(self._budget(held)):
                parts = {
                    name: decode(
                        found,
                        dataclasses.replace(
                            request, source=held.sources[name], globals=each.globals, into=None
                        ),
                    )
                    for name, each in examined.items()
                }
                return found, fill(request, join_shards(parts, placed))
        external = {name: each for name, each in held.sources.items() if name != files.main}
        names = examined[files.main].globals
        with record.step("decode"), spending(self._budget(held)):
            return found, decode(
                found, dataclasses.replace(request, globals=names, external=external)
            )

    def _examined(
        self, files: ArtifactLayout, held: Snapshot, record: LoadRecord
    ) -> tuple[Format, dict[str, Examination]]:
        """Format of the model, and the scan result of each file that holds a part of it."""
        names = [files.main]
        if files.kind == "shards":
            placed = shards(held.sources[files.main], files.read, limits=self._limits)
            names = sorted(set(placed.values()))
        with spending(self._budget(held)):
            scanned = {name: self._scan(held.sources[name], record) for name in names}
        formats = {found for found, _ in scanned.values()}
        if len(formats) != 1:
            raise FormatRefused(
                f"{files.main}: expected shards of one format, got {', '.join(sorted(formats))}"
            )
        examined = {name: examination for name, (_, examination) in scanned.items()}
        if files.kind not in {"shards", "savedmodel"}:  # TensorFlow finds its files by name
            others = {name: each for name, each in held.sources.items() if name != files.main}
            main = examined[files.main]
            require_external(held.sources[files.main], main.external, others)
            for part in scanned_parts(files.main, main.external):
                examined[files.main] |= self._scan(others[part], record)[1]
        require_alone(files)
        return formats.pop(), examined

    def _budget(self, held: Snapshot) -> Budget:
        """The budget of one pass over all files of the model."""
        return self._limits.budget(held.size)

    def _scan(self, source: Source, record: LoadRecord) -> tuple[Format, Examination]:
        with record.step("scan"):
            verdict, examination = examine(
                source, allow_globals=self._allow_globals, limits=self._limits
            )
        record.note(format=str(verdict.format))
        record.add("exceptions", examination.exceptions)
        verdict.require()
        # Code of a format that the caller allows by name cannot be analysed; it is signed.
        trusted_code = verdict.format in CODE and verdict.format in self._allow_globals
        if verdict.unchecked and not trusted_code:
            item = verdict.unchecked[0]
            raise FormatRefused(f"{item.what} was not checked ({item.why}), so it is not loaded")
        return Format(verdict.format), examination


def _expected(path: str | os.PathLike[str], wanted: _Wanted) -> ExpectedName | None:
    return expected_name(path, wanted.name, pinned=wanted.digest is not None)


def _require_meant(got: Digest, wanted: Digest | None, where: str) -> None:
    if wanted is not None and got != wanted:
        raise DigestMismatch(
            f"{where}: expected {wanted}, got {got}: another signed model is in its place"
        )


def _adapter(model: Any) -> Adapter | None:
    try:
        return adapt(model)
    except UsageError:
        return None  # tensors or arrays have no predictions
