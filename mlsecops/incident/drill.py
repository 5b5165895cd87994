"""Incident drill: each kind of incident played against a copy of a registry.

registry → private copy with a log of its own → incident of each kind → playbook, timed → Drill

The registry is only read. Its serving models are published again in a registry of their own under a
temporary folder, whose log has another name, so that nothing that the drill signs can pass for the
registry's log. A drill shows whether the steps work on these models and how long they take, and not
how fast people decide.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from mlsecops._choices import checked, some_of
from mlsecops._repr import concise_repr
from mlsecops.errors import IncidentError, MLSecOpsError
from mlsecops.incident.guidance import KINDS, Kind
from mlsecops.incident.incident import Incident
from mlsecops.incident.new_signatures import sign_again
from mlsecops.incident.playbook import Playbook
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustedKey, TrustPolicy

__all__ = ["Drill", "DrillStep", "run_drill"]

_NEWEST: Final = 2  # versions of a model that are copied: one to isolate, one to roll back to
_PAUSE: Final = 0.05  # seconds between two looks at the other models; chosen: many in each step

Progress = Callable[[str], object]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStep:
    """One step of a drill.

    Attributes:
        name: Name of the step.
        state: Its state, as of `Step`.
        seconds: Time that it took.
        note: What happened.
    """

    name: str
    state: str
    seconds: float
    note: str


@concise_repr("kind", "model", "state", "seconds")
@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One kind of incident, played to its end.

    Attributes:
        kind: Kind of incident.
        model: Model that the incident was about.
        state: State of the incident at the end.
        seconds: Time from the report to the end.
        isolated: Seconds from the report until the digest, or the key, was refused.
        steps: The steps.
        serves: Version that the model serves at the end, or None.
        others: How often other models were resolved while the steps ran; those that the leaked
            key signed too are not among them.
        others_refused: How often one of them was refused; 0 is right.
        missing: What could not be rehearsed here, in sentences.
    """

    kind: Kind
    model: str
    state: str
    seconds: float
    isolated: float
    steps: tuple[DrillStep, ...]
    serves: int | None
    others: int
    others_refused: int
    missing: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether the incident was closed and every other model served throughout."""
        return self.state == "closed" and not self.others_refused

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "missing": list(self.missing), "held": self.held,
                "steps": [asdict(step) for step in self.steps]}  # fmt: skip


@checked
def run_drill(
    registry: Registry,
    *,
    signer: Signer,
    kinds: Iterable[Kind] = KINDS,
    progress: Progress | None = None,
) -> tuple[Drill, ...]:
    """Play an incident of each kind against a copy of a registry.

    Args:
        registry: The registry, which is only read: open it without a signer.
        signer: Signs the log of the copy, and again what a leaked key had signed.
        kinds: Kinds of incidents, in order.
        progress: Called with what is played next.

    Returns:
        One drill a kind.

    Raises:
        UsageError: A kind is unknown.
        IncidentError: No model of the registry serves and verifies now.
    """
    chosen = some_of("kinds", kinds, KINDS)
    found = []
    with tempfile.TemporaryDirectory(prefix="mlsecops-drill-") as place:
        models = _taken(registry, Path(place) / "models")
        for kind in chosen:
            if progress is not None:
                progress(kind)
            found.append(_play(kind, models, registry.policy, signer, Path(place) / kind))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A model of the registry, with folders of its serving and an older version, oldest first."""

    name: str
    folders: tuple[Path, ...]
    missing: tuple[str, ...]


def _taken(registry: Registry, place: Path) -> list[_Model]:
    """The models that serve and verify now."""
    found = []
    for name in sorted({version.name for version in registry.versions()}):
        versions = registry.versions(name)
        serving = next((each.version for each in versions if registry.serves(each)), 0)
        folders: list[Path] = []
        missing: list[str] = []
        for version in reversed(versions[:serving]):
            target = place / name / str(version.version) / name
            if len(folders) == _NEWEST:
                break
            try:
                registry.verify(name, version.version)
                target.parent.mkdir(parents=True)
                folders.insert(0, registry.checkout(name, version.version, target))
            except MLSecOpsError as error:
                missing.append(f"{name} {version.version} was left out: {error}")
        if len(folders) == 1:
            missing.append(f"{name} has no older version that verifies: nothing can be rolled back")
        if folders:
            found.append(_Model(name=name, folders=tuple(folders), missing=tuple(missing)))
    if not found:
        raise IncidentError(
            f"drill: expected a model in {registry.location} that serves and verifies now, found "
            "none; promote one to 'serving' first"
        )
    return found


def _play(
    kind: Kind, models: Sequence[_Model], policy: TrustPolicy, signer: Signer, place: Path
) -> Drill:
    """Publish the models in a registry of their own, report an incident, and handle it."""
    new = [Signer.generate("ed25519") for _ in range(policy.threshold)]
    registry = _published(models, _trusting(policy, new), signer, place)
    model = max(models, key=lambda each: len(each.folders))
    others = [each.name for each in models if each is not model]
    about, missing = _arranged(kind, registry, model)
    playbook = Playbook.default(
        kind,
        remediate=_remediation(kind, new, registry),
        validate=lambda _, version: version is not None,
    )
    began = time.perf_counter()
    incident = Incident.report(kind, digest=about, message=f"drill: {kind}", registry=registry)
    with _Looks(registry, others) as looks:
        failure = _run(playbook, incident)
    seconds = time.perf_counter() - began
    touched = {each.rsplit(" ", 1)[0] for each in _assessed(incident)}
    shared = [
        f"{each} is signed by the same key: it stops too" for each in others if each in touched
    ]
    steps = _timed(incident)
    return Drill(
        kind=kind,
        model=model.name,
        state=incident.state,
        seconds=round(seconds, 3),
        isolated=steps[0].seconds,
        steps=steps,
        serves=_serves(registry, model.name),
        others=sum(looks.asked[each] for each in others if each not in touched),
        others_refused=sum(looks.refused[each] for each in others if each not in touched),
        missing=(*model.missing, *missing, *shared, *failure),
    )


def _trusting(policy: TrustPolicy, new: Sequence[Signer]) -> TrustPolicy:
    """The registry's policy, which also trusts the keys that sign again in the drill."""
    revised = copy(policy)
    keys = (*policy.keys, *(TrustedKey(each.public_key) for each in new))
    revised.keys = keys  # type: ignore[misc] # a copy that nobody has seen
    return revised


def _published(
    models: Sequence[_Model], policy: TrustPolicy, signer: Signer, place: Path
) -> Registry:
    registry = Registry(
        place,
        signer=signer,
        policy=policy,
        log_keys=[signer.public_key],
        origin=f"mlsecops-drill/{secrets.token_hex(8)}",
    )
    for model in models:
        newest = [registry.publish(model.name, folder) for folder in model.folders][-1]
        registry.promote(model.name, newest.version, "serving")
    return registry


def _arranged(kind: Kind, registry: Registry, model: _Model) -> tuple[Digest, tuple[str, ...]]:
    """What the incident is about, and what cannot be rehearsed."""
    newest = registry.versions(model.name)[-1]
    if kind == "leaked-key":
        signers = registry.claim(model.name, newest.version).signers
        keys = [each.key.fingerprint for each in registry.policy.keys]
        found = next((each for each in signers if each in keys), None)
        if found is None:
            return Digest.of(b"drill"), (f"{model.name} is signed by no key of the policy",)
        return Digest.parse(f"sha256:{found}"), ()
    if kind == "tampered-artifact":
        return newest.digest, _tampered(registry, model.name)
    return newest.digest, ()


def _tampered(registry: Registry, name: str) -> tuple[str, ...]:
    """Damage a file of the copy that only the newest version has."""
    versions = registry.versions(name)
    older = {
        digest for each in versions[:-1] for digest in registry.files(name, each.version).values()
    }
    newest = registry.files(name, versions[-1].version)
    own = next((digest for digest in newest.values() if digest not in older), None)
    blob = None if own is None else next(Path(registry.location).rglob(f"*{own.hex}*"), None)
    if blob is None:
        return (f"no file of {name} was damaged: the older version has the same ones",)
    blob.chmod(0o600)
    blob.write_bytes(b"tampered with")
    return ()


def _remediation(
    kind: Kind, new: Sequence[Signer], registry: Registry
) -> Callable[[Incident], object]:
    def remediate(incident: Incident) -> object:
        if kind != "leaked-key":
            return None  # the real remediation is the user's
        if (incident.step("assess").result or {}).get("log_key"):
            registry.rotate_key(Signer.generate("ed25519"))
        return sign_again(new)(incident)

    return remediate


def _run(playbook: Playbook, incident: Incident) -> tuple[str, ...]:
    try:
        playbook.run(incident, approve=lambda _: True)
    except IncidentError as error:
        return (str(error),)
    return ()


def _timed(incident: Incident) -> tuple[DrillStep, ...]:
    """The steps, each with the time since the one before was recorded."""
    last = datetime.fromisoformat(incident.events()[0]["at"])
    seconds: dict[str, float] = {}
    for event in incident.events():
        if event["type"] == "step":
            at = datetime.fromisoformat(event["at"])
            seconds[event["step"]] = round((at - last).total_seconds(), 3)
            last = at
    return tuple(
        DrillStep(
            name=step.name, state=step.state, seconds=seconds.get(step.name, 0.0), note=step.note
        )
        for step in incident.steps
    )


def _assessed(incident: Incident) -> list[str]:
    return list((incident.step("assess").result or {}).get("versions", ()))


def _serves(registry: Registry, name: str) -> int | None:
    try:
        return registry.resolve(name, "serving").version
    except MLSecOpsError:
        return None


class _Looks:
    """Resolves the other models again and again on a thread of its own while the block lasts."""

    def __init__(self, registry: Registry, names: Sequence[str]) -> None:
        self._registry = registry
        self._names = names
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="mlsecops-drill", daemon=True)
        self.asked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            for name in self._names:
                self.asked[name] += 1
                self.refused[name] += _serves(self._registry, name) is None
            if self._over.wait(_PAUSE):
                return
