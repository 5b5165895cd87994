"""States of a pipeline's controls, as its parts prove them for the model's digest.

parts, Verified → name of the control, state, place; "enforced" is only what was compared with the
digest, what bears no digest or another one is advisory
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from mlsecops.incident import Incident
from mlsecops.llm import Campaign
from mlsecops.loading import LoadedModel
from mlsecops.monitoring import Monitor
from mlsecops.pipeline.binding import BOM_PREDICATE, require_datasets, require_model, statement_of
from mlsecops.poisoning import PoisoningReport
from mlsecops.provenance import Manifest
from mlsecops.provenance.statement import SLSA_PROVENANCE
from mlsecops.registry import Registry
from mlsecops.reports import ControlState
from mlsecops.robustness import RobustnessReport
from mlsecops.signing import Verified

ENFORCED: Final = ControlState.ENFORCED
ADVISORY: Final = ControlState.ADVISORY

States = Mapping[str, tuple[ControlState, str]]
Shown = tuple[str, tuple[ControlState, str]]


class Parts(Protocol):
    """Parts of a pipeline, as `SecurePipeline` has them."""

    @property
    def datasets(self) -> Mapping[str, Manifest]:
        """Name → manifest of each data set."""

    @property
    def robustness(self) -> RobustnessReport | None:
        """Robustness report."""

    @property
    def screening(self) -> PoisoningReport | None:
        """Report on the training data."""

    @property
    def activations(self) -> PoisoningReport | None:
        """Report on the activations."""

    @property
    def campaign(self) -> Campaign | None:
        """Campaign of prompt injections."""

    @property
    def campaign_digest(self) -> str | None:
        """Digest that the campaign names."""

    @property
    def bom(self) -> Mapping[str, object] | None:
        """Bill of materials."""

    @property
    def registry(self) -> Registry | None:
        """Registry of the model."""

    @property
    def loaded(self) -> LoadedModel | None:
        """The model as loaded."""

    @property
    def monitor(self) -> Monitor | None:
        """Monitor in production."""

    @property
    def incident(self) -> Incident | None:
        """Incident."""

    def verdict(self) -> str | None:
        """Verdict of the gate on the robustness report."""


def proven_states(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    """The controls that the parts of a pipeline prove.

    Raises:
        DigestMismatch: A report, data set or loaded model is of another digest.
    """
    yield from _training(pipeline, verified)
    yield from _release(pipeline, verified)
    yield from _serving(pipeline, verified)


def _training(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    if pipeline.datasets:
        count = count_of(len(pipeline.datasets), "manifest")
        if require_datasets(pipeline.datasets, verified):
            yield "Dataset digest", (ENFORCED, f"{count}, named by the signed provenance")
        else:
            yield "Dataset digest", (ADVISORY, f"{count}; no signed provenance names the data")
    if pipeline.screening is not None:
        yield "Data screening", _suspects(pipeline.screening)
    if pipeline.activations is not None:
        yield "Poisoning detection", _suspects(pipeline.activations)
    yield from _gate(pipeline, verified)
    if pipeline.campaign is not None:
        attempts = count_of(len(pipeline.campaign.results), "attempt")
        if require_model("campaign", pipeline.campaign_digest, verified):
            yield "Injection campaign", (ADVISORY, attempts)
        else:
            yield "Injection campaign", (ADVISORY, f"{attempts}; it names no model's digest")


def _gate(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    report, verdict = pipeline.robustness, pipeline.verdict()
    if report is None:
        return
    bound = require_model("robustness report", report.model_digest, verified)
    if verdict is None:
        return
    if not bound:
        yield "Robustness gate", (ADVISORY, f"{verdict}; the report names no model's digest")
    else:
        yield "Robustness gate", (ENFORCED if verdict == "pass" else ADVISORY, verdict)


def _release(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    yield "Signature", (ENFORCED, count_of(len(verified.signers), "trusted signer"))
    yield "Signature check", (ENFORCED, "verified for this page")
    if statement_of(verified, SLSA_PROVENANCE) is not None:
        yield "Provenance", (ENFORCED, "signed with the model")
    if statement_of(verified, BOM_PREDICATE) is not None:
        yield "Bill of materials", (ENFORCED, "signed with the model")
    elif pipeline.bom is not None:
        yield "Bill of materials", (ADVISORY, "of this model, not signed with it")
    if pipeline.registry is not None:
        size = pipeline.registry.verify_log().size
        held = any(each.digest == verified.digest for each in pipeline.registry.versions())
        state = ENFORCED if held else ADVISORY
        absent = "" if held else "; it holds no version of this model"
        yield "Registry log", (state, f"{size} entries verified{absent}")
        yield "Verified rollback", (state, f"the registry verifies before it serves{absent}")


def _serving(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    loaded = pipeline.loaded
    if loaded is not None and require_model("loaded model", loaded.digest, verified):
        yield "Content scan", (ENFORCED, f"{loaded.format}, before it was read")
        yield "Sealed loading", (ENFORCED, loaded.tier)
    yield from _watching(pipeline, verified)
    if pipeline.incident is not None:
        pipeline.incident.evidence.verify()
        of = pipeline.incident.digest
        if of == verified.digest:
            yield "Evidence", (ENFORCED, "sealed and verified")
        else:
            version = "no model's digest" if of is None else _short(str(of))
            yield "Evidence", (ADVISORY, f"sealed and verified, of {version}")


def _watching(pipeline: Parts, verified: Verified) -> Iterator[Shown]:
    monitor = pipeline.monitor
    if monitor is None:
        return
    same = monitor.digest == str(verified.digest)
    other = "no model's digest" if monitor.digest is None else _short(monitor.digest)
    for name, kind in monitor.controls.items():
        if same:
            state = ENFORCED if kind == "guard" else ADVISORY
            yield name, (state, f"{kind} of {monitor.name}")
        else:
            yield name, (ADVISORY, f"{kind} of {monitor.name}, which watches {other}")


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _suspects(report: PoisoningReport) -> tuple[ControlState, str]:
    return ADVISORY, f"{count_of(len(report.suspects), 'row')} to look at"


def count_of(count: int, noun: str) -> str:
    """A count with its noun.

    Examples:
        >>> count_of(2, "row")
        '2 rows'
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
