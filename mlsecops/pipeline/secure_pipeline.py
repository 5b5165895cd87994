"""Secured pipeline of one model, and its six deliverables.

signed model, manifests, reports, monitor states, registry, incident → SecurePipeline
    → `deliver`: model verified → states of controls → six deliverables and an index
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked, one_of
from mlsecops._files import utf8
from mlsecops._repr import concise_repr
from mlsecops.incident import Incident, Playbook
from mlsecops.llm import Campaign
from mlsecops.loading import LoadedModel
from mlsecops.monitoring import DEFAULT_RULES, AlertRule, Monitor, MonitorState
from mlsecops.pipeline.binding import BOM_PREDICATE, require_bill, signed_files, statement_of
from mlsecops.pipeline.control_states import (
    ADVISORY,
    ENFORCED,
    States,
    count_of,
    proven_states,
)
from mlsecops.pipeline.delivery import Delivery, require_outside, write_delivery
from mlsecops.poisoning import PoisoningReport
from mlsecops.provenance import Manifest
from mlsecops.provenance.statement import SLSA_PROVENANCE
from mlsecops.registry import Registry
from mlsecops.reports import (
    FRAMEWORKS,
    ControlState,
    Deliverable,
    architecture_files,
    blueprint,
    bom_text,
    build_bom,
    dashboard_files,
    evidence_map,
    evidence_page,
    evidence_template,
    index_page,
    robustness_page,
)
from mlsecops.reports.evidence.evidence_page import TEMPLATE
from mlsecops.reports.rendering.page import Tone
from mlsecops.robustness import Gate, RobustnessReport
from mlsecops.signing import TrustPolicy, Verified, bundle_path, verify

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
        ("robustness.html", "robustness.json", "campaign.json"),
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

_UNMEASURED: Final = "Not measured: the pipeline has neither a robustness report nor a campaign."

_EVIDENCE: Final = Deliverable(
    title="Evidence map",
    summary="Requirements of a framework, each with the file and field that answers it.",
    status="mapped",
    tone="good",
    files=("evidence.html", "evidence.json", TEMPLATE),
)


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
        bom: Bill of materials of the model; by default the signed one, else one is built.
        campaign: Campaign of prompt injections against the model; its `target_id` is the model's
            digest as text.
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
    bom: Mapping[str, Any] | None = None
    campaign: Campaign | None = None

    @checked
    def deliver(self, out: str | os.PathLike[str], *, framework: str | None = None) -> Delivery:
        """Verify the model and write the six deliverables and `index.html`.

        Args:
            out: Output folder, created if absent. Files of the same name are replaced (but an
                `evidence-to-write.md` that somebody changed), those of an earlier delivery that
                nobody changed are removed.
            framework: One of `FRAMEWORKS` (`"eu-ai-act"`): its requirements are mapped to the
                evidence among the files, in `evidence.html` and `evidence.json`.

        Raises:
            VerificationError: The policy refuses the model, or a part is of another model
                (`DigestMismatch`); nothing is written.
            UsageError: The folder cannot be written or lies in the model's, or the framework is
                unknown.
        """
        if framework is not None:
            one_of("framework", framework, FRAMEWORKS)
        require_outside(Path(out), Path(self.model))
        verified = verify(self.model, policy=self.policy, name=self.model_name)
        if self.bom is not None:
            require_bill(self.bom, verified)
        files = {name: utf8(text, what=name) for name, text in self._files(verified)}
        files["signing/model.sig"] = bundle_path(self.model).read_bytes()
        if framework is not None:
            evidence = evidence_map(
                framework, self._evidence(files), digest=str(verified.digest),
                signed=signed_files(verified, files),
            )  # fmt: skip
            files["evidence.json"] = _json(evidence).encode()
            files["evidence.html"] = evidence_page(evidence, model=self.name).encode()
            files[TEMPLATE] = evidence_template(evidence).encode()
        files["index.html"] = self._index(verified, files.keys()).encode()
        write_delivery(Path(out), files, completed=(TEMPLATE,))
        return Delivery(folder=Path(out), digest=str(verified.digest), files=tuple(files))

    def _evidence(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Files that are evidence; a dashboard of nothing that is monitored is none."""
        monitored = self.monitor is not None or bool(self.snapshots)
        return {name: each for name, each in files.items() if monitored or name != "dashboard.json"}

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
        if self.campaign is not None:
            yield "campaign.json", _json(self.campaign.to_dict())

    def _signing(self, verified: Verified) -> Iterator[tuple[str, str]]:
        known = (trusted.key for trusted in self.policy.keys)
        signing = (key.pem for key in known if key.fingerprint in verified.signers)
        for number, pem in enumerate(signing, start=1):
            suffix = "" if number == 1 else f"-{number}"
            yield f"signing/release{suffix}.pub.pem", pem
        provenance = statement_of(verified, SLSA_PROVENANCE)
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
        return self.robustness.to_dict(verdict=self.verdict())

    def verdict(self) -> str | None:
        """Verdict of the gate on the report; None without a gate or a report."""
        if self.gate is None or self.robustness is None:
            return None
        return self.gate.judge(self.robustness).verdict

    def _dashboard(self, verified: Verified) -> dict[str, str]:
        monitor = self.monitor
        return dashboard_files(
            [state.to_dict() for state in self.snapshots.values()],
            name=self.name if monitor is None else monitor.name,
            digest=monitor.digest if monitor is not None else self._unwatched(verified),
            labels=list(self.snapshots),
            references=self.references,
            rules=self.rules,
        )

    def _unwatched(self, verified: Verified) -> str | None:
        """Digest for a dashboard without a monitor: snapshots alone do not name their model."""
        return None if self.snapshots else str(verified.digest)

    def _bom(self, verified: Verified) -> Mapping[str, Any]:
        signed = statement_of(verified, BOM_PREDICATE)
        if signed is not None:
            require_bill(signed.predicate, verified)
            return signed.predicate
        if self.bom is not None:
            return self.bom
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

        Raises:
            DigestMismatch: A part is of another model.
        """
        return {
            **{
                name: (state, f"declared: {where}")
                for name, (state, where) in self.controls.items()
            },
            **dict(proven_states(self, verified)),
        }

    def _index(self, verified: Verified, written: Collection[str]) -> str:
        alerts = [alert for state in self.snapshots.values() for alert in state.alerts]
        return index_page(
            self._cards(verified, written),
            model=self.name,
            digest=str(verified.digest),
            signers=verified.signers,
            gate=self.verdict() or "not judged",
            alerts=len({(alert.rule, alert.client, alert.at) for alert in alerts}),
            incident=self._incident_summary(),
        )

    @property
    def campaign_digest(self) -> str | None:
        """Digest that the campaign names as its target, or None."""
        named = None if self.campaign is None else self.campaign.target_id
        return named if named is not None and named.startswith("sha256:") else None

    def _incident_summary(self) -> str | None:
        if self.incident is None:
            return None
        steps = ", ".join(f"{step.name} {step.state}" for step in self.incident.steps)
        return f"Incident {self.incident.id[:12]} is {self.incident.state}: {steps}."

    def _cards(self, verified: Verified, written: Collection[str]) -> list[Deliverable]:
        signing = tuple(sorted(name for name in written if name.startswith("signing/")))
        mapped = [_EVIDENCE] if "evidence.json" in written else []
        return mapped + [
            Deliverable(
                title=title,
                summary=_UNMEASURED if files and set(files).isdisjoint(written) else summary,
                status=status,
                tone=tone,
                files=tuple(each for each in (files or signing) if each in written),
            )
            for (title, summary, files), (status, tone) in zip(
                _CARDS, self._looks(verified), strict=True
            )
        ]

    def _looks(self, verified: Verified) -> Iterator[tuple[str, Tone]]:
        states = self.control_states(verified)
        yield f"{[state for state, _ in states.values()].count(ENFORCED)} enforced", "good"
        yield "verified", "good"
        gate = states.get("Robustness gate", (ADVISORY, "not judged"))
        verdict = self.verdict() or ("not judged" if self.robustness else "not measured")
        unbound = verdict == "pass" and gate[0] is not ENFORCED
        yield verdict, "warn" if unbound else _TONES.get(verdict, "warn")
        yield count_of(len(self.rules), "rule"), "good"
        yield self.incident.state if self.incident else "ready", "good"
        signed = statement_of(verified, BOM_PREDICATE) is not None
        yield ("signed", "good") if signed else ("unsigned", "warn")


def _json(value: Any) -> str:
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"
