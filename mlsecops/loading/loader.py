"""Secure loader: verifies, scans and decodes one snapshot of a model's bytes.

path → layout → snapshot, hashed while it is taken → verify → scan → decode → LoadedModel
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsecops._bounded.budget import spending
from mlsecops._choices import checked, of_type, several
from mlsecops._repr import concise_repr
from mlsecops.adapters import Adapter, adapt
from mlsecops.audit import AccessControl
from mlsecops.errors import UsageError
from mlsecops.loading.artifact import ArtifactLayout
from mlsecops.loading.detection import Format
from mlsecops.loading.holding.scanning import held_format, require_checked, scan_held
from mlsecops.loading.holding.sharded_manifest import sharded_manifest
from mlsecops.loading.holding.signed_files import Opened, open_signed
from mlsecops.loading.holding.taking import taken
from mlsecops.loading.limits import Limits
from mlsecops.loading.loaded import HeldModel, LoadedModel
from mlsecops.loading.ranges.ranged_load import load_ranged, only
from mlsecops.loading.readers.checked_model import ModelReader
from mlsecops.loading.readers.decode import Framework, Request
from mlsecops.loading.recheck import Notify, Watch, require_not_isolated
from mlsecops.loading.snapshot import Snapshot, Tier
from mlsecops.loading.telemetry import LoadRecord, recorded
from mlsecops.provenance import Digest, Isolation
from mlsecops.provenance.files.hashing import Progress
from mlsecops.provenance.isolation import IsolationWatch
from mlsecops.signing import TrustPolicy, Verified, bundle_path, expected_name
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
    tensors: Collection[str] | None = None
    progress: Progress | None = None
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
        isolation: Source of isolated digests (a registry), which every load asks.
        stale_after: Seconds for which its last answer counts while it does not answer, ≥ 0; then
            loads are refused until it answers again.
        access: Decides about `model:load` of each model by its signed name (an `AccessGuard`).

    Raises:
        UsageError: The tier is unknown, or a number is out of its range.

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
        stale_after: float = 0.0,
        access: AccessControl | None = None,
    ) -> None:
        self._policy = policy
        self._tier: Tier = tier
        self._allow_globals = tuple(allow_globals)
        self._limits = limits or Limits()
        self._access = access if access is None else of_type("access", access, "demand", "a guard")
        self._isolation = (
            None
            if isolation is None
            else IsolationWatch(isolation, refresh=0.0, stale_after=stale_after)
        )

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
        tensors: Collection[str] | None = None,
        progress: Progress | None = None,
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
            tensors: Names of the tensors that are wanted. Of safetensors that are signed in shards
                only the shards around them are read and verified (`verified.compared`), each
                before it is handed on; elsewhere the whole is.
            progress: Called with the bytes verified so far, and in all.

        Raises:
            SignatureError: There is no bundle, or it does not hold.
            PolicyError: The policy does not accept it, or an incident isolated the model.
            AccessDenied: The subject may not load it.
            DigestMismatch: A file was added, removed or changed.
            UnsafeContent: The content could run code or reach outside.
            FormatRefused: The format is malformed, not loadable, or not what the name claims.
            LimitExceeded: It declares more than the limits allow.
            ChangedDuringLoad: Somebody changed a file meanwhile, or tried to (pinned tier).
            FrameworkTooOld: The installed framework is known to be unsafe for the format.
            UsageError: The path cannot be read, or an option does not fit the format.
        """
        wanted = _Wanted(
            file=file,
            digest=digest,
            name=name,
            framework=framework,
            into=into,
            device=device,
            tensors=None if tensors is None else several("tensors", tensors, "names", str),
            progress=progress,
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
                with record.step("scan"), spending(self._limits.budget(checked.held.size)):
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
        opened = self._opened(path, place, wanted, record)
        if opened.signed.sharded:
            return self._load_ranged(path, opened, wanted, record)
        with self._checked(path, place, wanted, record, opened) as checked:
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
            reader = ModelReader(allow_globals=self._allow_globals, limits=self._limits)
            found, model = reader.read(checked.files, checked.held, request, record)
            model = only(model, wanted.tensors)
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

    def _opened(
        self, path: str | os.PathLike[str], place: Path, wanted: _Wanted, record: LoadRecord
    ) -> Opened:
        return open_signed(
            path,
            place,
            record,
            policy=self._policy,
            isolation=self._isolation,
            access=self._access,
            expected=_expected(path, wanted),
            digest=wanted.digest,
            file=wanted.file,
            whole=wanted.in_folder,
        )

    def _load_ranged(
        self, path: str | os.PathLike[str], opened: Opened, wanted: _Wanted, record: LoadRecord
    ) -> LoadedModel:
        """Load tensors from the ranges that they lie in, of files signed in shards."""
        with record.step("decode"):
            model, verified = load_ranged(
                opened,
                tensors=wanted.tensors,
                limits=self._limits,
                isolation=self._isolation,
                framework=wanted.framework,
                into=wanted.into,
                device=wanted.device,
                progress=wanted.progress,
            )
        record.note(format=str(Format.SAFETENSORS), tier="private-copy")
        return LoadedModel(
            model=model,
            adapter=_adapter(model),
            digest=verified.digest,
            verified=verified,
            tier="private-copy",
            format=Format.SAFETENSORS,
            bundle=opened.bundle,
            expected=_expected(path, wanted),
        )

    @contextlib.contextmanager
    def _checked(
        self,
        path: str | os.PathLike[str],
        place: Path,
        wanted: _Wanted,
        record: LoadRecord,
        given: Opened | None = None,
    ) -> Iterator[_Checked]:
        """Hold the files of a model, and demand that their signature covers the held bytes."""
        opened = given or self._opened(path, place, wanted, record)
        signed = opened.signed.manifest
        with contextlib.ExitStack() as stack:
            with record.step("hold"):
                holding = taken(
                    opened.files,
                    signed,
                    tier=self._tier,
                    limits=self._limits,
                    in_folder=wanted.in_folder,
                    progress=wanted.progress,
                )
                whole = stack.enter_context(holding)
                files, held = whole.files, whole.held
                record.note(tier=held.tier, bytes=held.size)
            algorithm, shard_size = signed.algorithm, signed.shard_size
            if shard_size is None:
                actual = files.manifest(held, algorithm=algorithm)
            else:
                actual = sharded_manifest(files, held, algorithm=algorithm, shard_size=shard_size)
            verified = opened.verifier.match(
                opened.signed, actual, where=opened.where, ignored=opened.hidden
            )
            digests = [held.digests[name] for name in held.sources]
            require_not_isolated(digests, self._isolation, where=opened.where)
            yield _Checked(
                files=files,
                held=held,
                verified=verified,
                bundle=opened.bundle,
                folder=whole.folder,
            )


def _expected(path: str | os.PathLike[str], wanted: _Wanted) -> ExpectedName | None:
    return expected_name(path, wanted.name, pinned=wanted.digest is not None)


def _adapter(model: Any) -> Adapter | None:
    try:
        return adapt(model)
    except UsageError:
        return None  # tensors or arrays have no predictions
