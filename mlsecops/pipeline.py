"""Secured pipeline of one model, and its six deliverables.

signed model, manifests, reports, monitor states, registry, incident → SecurePipeline
    → `deliver`: model verified → states of controls → six deliverables and an index
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.incident import Incident, Playbook
from mlsecops.loading import LoadedModel
from mlsecops.monitoring import DEFAULT_RULES, AlertRule, Monitor, MonitorState
from mlsecops.poisoning import PoisoningReport
from mlsecops.provenance import Manifest, Statement
from mlsecops.provenance.statement import SLSA_PROVENANCE
from mlsecops.registry import Registry
from mlsecops.reports import (
    ControlState,
    Deliverable,
    architecture_files,
    blueprint,
    bom_text,
    build_bom,
    dashboard_files,
    index_page,
    robustness_page,
)
from mlsecops.reports.rendering.page import Tone
from mlsecops.robustness import Gate, RobustnessReport
from mlsecops.signing import TrustPolicy, Verified, bundle_path, verify

BOM_PREDICATE: Final = "https://cyclonedx.org/bom"

ENFORCED: Final = ControlState.ENFORCED
ADVISORY: Final = ControlState.ADVISORY

_TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad"}
_CARDS: Final = (
    (
        "Architecture",
        "The data flow, each control on its edge in its actual state, and the threats it counters.",
        ("architecture.html", "architecture.svg", "architecture.mmd"),
    ),
    (
        "Signing certificate",
        "The public key, the bundle that covers every file, and the provenance signed with it.",
        (),
    ),
    (
        "Adversarial results",
        "Accuracy under attack, with intervals and checks of the measurement.",
        ("robustness.html", "robustness.json"),
    ),
    (
        "Monitoring dashboard",
        "The same panels for Grafana, Prometheus and as a page.",
        ("dashboard.html", "dashboard.json", "alerts.yml"),
    ),
    (
        "Response playbook",
        "Steps of the response to an alert or finding.",
        ("playbook.md", "playbook.json"),
    ),
    (
        "Bill of materials",
        "CycloneDX ML-BOM: the model, its data and packages, and how it was made.",
        ("bom.cdx.json",),
    ),
)

States = Mapping[str, tuple[ControlState, str]]
Shown = tuple[str, tuple[ControlState, str]]


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurePipeline:
    """Parts of one model's pipeline; only `name`, `model` and `policy` are required.

    Attributes:
        name: Name of the pipeline.
        model: Folder or file of the signed model.
        policy: Trust policy for its signature.
        datasets: Name → manifest of each data set.
        robustness: Robustness report.
        before: Robustness before hardening, for comparison.
        gate: Gate that judges the report.
        monitor: Monitor in production.
        snapshots: Label → state of the monitor, oldest first.
        references: Panel (`"confidence"`, `"accuracy"`) → value of the baseline.
        rules: Alert rules.
        screening: Report on the training data.
        activations: Report on the trained model's activations.
        loaded: The model as loaded by the server's SecureLoader.
        registry: Registry in which it is published.
        playbook: Response playbook; `Playbook.default()` if None.
        incident: Incident, if there was one.
        controls: Control → state and place, for controls outside the parts above
            (`"Access control"`, `"Rate limit"` in a gateway). They are marked as declared.
        model_name: Name that the model must be signed under, as for `verify`.
    """

    name: str
    model: str | os.PathLike[str]
    policy: TrustPolicy
    datasets: Mapping[str, Manifest] = field(default_factory=dict)
    robustness: RobustnessReport | None = None
    before: RobustnessReport | None = None
    gate: Gate | None = None
    monitor: Monitor | None = None
    snapshots: Mapping[str, MonitorState] = field(default_factory=dict)
    references: Mapping[str, float] = field(default_factory=dict)
    rules: Sequence[AlertRule] = DEFAULT_RULES
    screening: PoisoningReport | None = None
    activations: PoisoningReport | None = None
    loaded: LoadedModel | None = None
    registry: Registry | None = None
    playbook: Playbook | None = None
    incident: Incident | None = None
    controls: States = field(default_factory=dict)
    model_name: str | None = None

    @checked
    def deliver(self, out: str | os.PathLike[str]) -> Delivery:
        """Verify the model and write the six deliverables and `index.html`.

        Args:
            out: Output folder, created if absent. Files of the same name are replaced.

        Raises:
            VerificationError: The policy refuses the model; nothing is written.
            UsageError: The folder cannot be written.
        """
        verified = verify(self.model, policy=self.policy, name=self.model_name)
        files = dict(self._files(verified))
        target = Path(out)
        try:
            (target / "signing").mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                write_atomically(target / name, text.encode())
            shutil.copyfile(bundle_path(self.model), target / "signing" / "model.sig")
        except OSError as error:
            raise UsageError(f"cannot write into {target}: {error.strerror}") from error
        return Delivery(
            folder=target, digest=str(verified.digest), files=(*files, "signing/model.sig")
        )

    def _files(self, verified: Verified) -> Iterator[tuple[str, str]]:
        architecture = blueprint(self.control_states(verified), title=self.name)
        yield from architecture_files(architecture).items()
        yield from self._signing(verified)
        yield from self._robustness()
        yield from self._dashboard(verified).items()
        playbook = self.playbook or Playbook.default()
        yield "playbook.json", _json(playbook.to_dict())
        yield "playbook.md", playbook.to_markdown()
        yield "bom.cdx.json", bom_text(self._bom(verified))
        yield "index.html", self._index(verified)

    def _signing(self, verified: Verified) -> Iterator[tuple[str, str]]:
        known = (trusted.key for trusted in self.policy.keys)
        signing = (key.pem for key in known if key.fingerprint in verified.signers)
        for number, pem in enumerate(signing, start=1):
            suffix = "" if number == 1 else f"-{number}"
            yield f"signing/release{suffix}.pub.pem", pem
        provenance = _statement(verified, SLSA_PROVENANCE)
        if provenance is not None:
            yield "signing/provenance.json", _json(provenance.to_dict())
        yield "signing/verified.json", _json(verified.to_dict())

    def _robustness(self) -> Iterator[tuple[str, str]]:
        if self.robustness is None:
            return
        before = None if self.before is None else self.before.to_dict()
        figures = self._figures()
        floor = None if self.gate is None else self.gate.min_accuracy
        page = robustness_page(figures, before=before, floor=floor, model=self.name)
        yield "robustness.json", _json(figures)
        yield "robustness.html", page

    def _figures(self) -> dict[str, Any]:
        if self.robustness is None:
            return {}
        return self.robustness.to_dict(verdict=self._verdict())

    def _verdict(self) -> str | None:
        if self.gate is None or self.robustness is None:
            return None
        return self.gate.judge(self.robustness).verdict

    def _dashboard(self, verified: Verified) -> dict[str, str]:
        monitor = self.monitor
        return dashboard_files(
            [state.to_dict() for state in self.snapshots.values()],
            name=self.name if monitor is None else monitor.name,
            digest=str(verified.digest) if monitor is None else monitor.digest,
            labels=list(self.snapshots),
            references=self.references,
            rules=self.rules,
        )

    def _bom(self, verified: Verified) -> dict[str, Any]:
        signed = _statement(verified, BOM_PREDICATE)
        if signed is not None:
            return signed.predicate
        return build_bom(
            name=self.name,
            manifest=verified.manifest,
            datasets=self.datasets,
            statements=verified.statements,
            robustness=self._figures() or None,
            signers=verified.signers,
        )

    def control_states(self, verified: Verified) -> dict[str, tuple[ControlState, str]]:
        """Name → state and place of the controls that the parts prove.

        Args:
            verified: Proof of the model's signature.
        """
        return {
            **{
                name: (state, f"declared: {where}")
                for name, (state, where) in self.controls.items()
            },
            **dict(self._shown_in_training()),
            **dict(self._shown_in_release(verified)),
            **dict(self._shown_in_serving()),
        }

    def _shown_in_training(self) -> Iterator[Shown]:
        if self.datasets:
            yield "Dataset digest", (ENFORCED, _count_of(len(self.datasets), "manifest"))
        if self.screening is not None:
            yield "Data screening", _suspects(self.screening)
        if self.activations is not None:
            yield "Poisoning detection", _suspects(self.activations)
        verdict = self._verdict()
        if verdict is not None:
            yield "Robustness gate", (ENFORCED if verdict == "pass" else ADVISORY, verdict)

    def _shown_in_release(self, verified: Verified) -> Iterator[Shown]:
        yield "Signature", (ENFORCED, _count_of(len(verified.signers), "trusted signer"))
        yield "Signature check", (ENFORCED, "verified for this page")
        if _statement(verified, SLSA_PROVENANCE) is not None:
            yield "Provenance", (ENFORCED, "signed with the model")
        if _statement(verified, BOM_PREDICATE) is not None:
            yield "Bill of materials", (ENFORCED, "signed with the model")
        if self.registry is not None:
            size = self.registry.verify_log().size
            yield "Registry log", (ENFORCED, f"{size} entries verified")
            yield "Verified rollback", (ENFORCED, "the registry verifies before it serves")

    def _shown_in_serving(self) -> Iterator[Shown]:
        if self.loaded is not None:
            yield "Content scan", (ENFORCED, f"{self.loaded.format}, before it was read")
            yield "Sealed loading", (ENFORCED, self.loaded.tier)
        if self.monitor is not None:
            for name, kind in self.monitor.controls.items():
                state = ENFORCED if kind == "guard" else ADVISORY
                yield name, (state, f"{kind} of {self.monitor.name}")
        if self.incident is not None:
            self.incident.evidence.verify(policy=self.policy)
            yield "Evidence", (ENFORCED, "sealed and verified")

    def _index(self, verified: Verified) -> str:
        alerts = [alert for state in self.snapshots.values() for alert in state.alerts]
        return index_page(
            self._cards(verified),
            model=self.name,
            digest=str(verified.digest),
            signers=verified.signers,
            gate=str(self._verdict() or "not judged"),
            alerts=len({(alert.rule, alert.client, alert.at) for alert in alerts}),
            incident=self._incident_summary(),
        )

    def _incident_summary(self) -> str | None:
        if self.incident is None:
            return None
        steps = ", ".join(f"{step.name} {step.state}" for step in self.incident.steps)
        return f"Incident {self.incident.id[:12]} is {self.incident.state}: {steps}."

    def _cards(self, verified: Verified) -> list[Deliverable]:
        states = [state for state, _ in self.control_states(verified).values()]
        verdict = self._verdict() or "not judged"
        signed = _statement(verified, BOM_PREDICATE) is not None
        signing = (*(name for name, _ in self._signing(verified)), "signing/model.sig")
        looks: tuple[tuple[str, Tone], ...] = (
            (f"{states.count(ENFORCED)} enforced", "good"),
            ("verified", "good"),
            (verdict, _TONES.get(verdict, "warn")),
            (f"{len(self.rules)} rules", "good"),
            (self.incident.state if self.incident else "ready", "good"),
            ("signed", "good") if signed else ("unsigned", "warn"),
        )
        return [
            Deliverable(
                title=title, summary=summary, status=status, tone=tone, files=files or signing
            )
            for (title, summary, files), (status, tone) in zip(_CARDS, looks, strict=True)
        ]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Result of `SecurePipeline.deliver`.

    Attributes:
        folder: Output folder.
        digest: `"sha256:<hex>"` of the model.
        files: Relative paths of the files.
    """

    folder: Path
    digest: str
    files: tuple[str, ...]


def _statement(verified: Verified, predicate_type: str) -> Statement | None:
    matching = (each for each in verified.statements if each.predicate_type == predicate_type)
    return next(matching, None)


def _suspects(report: PoisoningReport) -> tuple[ControlState, str]:
    return ADVISORY, f"{_count_of(len(report.suspects), 'row')} to look at"


def _count_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _json(value: Any) -> str:
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"
