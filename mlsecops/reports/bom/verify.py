"""Verification of a bill of materials against the model, its data and its signature.

bill, model, data sets, Verified, robustness report → fields with states, findings → BomReport

A field is verified only if it was recomputed or read from a verified signature, asserted if nothing
can confirm it, and a placeholder if it has no meaning, such as "unknown".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked, of_type
from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.manifest import Manifest, hash_path
from mlsecops.provenance.statement import SLSA_PROVENANCE, Statement
from mlsecops.reports.bom.build import ALGORITHMS, performance_metrics, report_properties
from mlsecops.reports.bom.claims import compared_claims
from mlsecops.reports.bom.formulation import inner
from mlsecops.reports.bom.lint import lint_bom
from mlsecops.reports.bom.nodes import BomNode, called, is_component, walk
from mlsecops.reports.bom.verification_report import BomField, BomReport, FieldState, is_placeholder
from mlsecops.reports.redaction import shown

if TYPE_CHECKING:
    from mlsecops.signing import Verified

_ALGORITHM_OF: Final = {name: algorithm for algorithm, name in ALGORITHMS.items()}
_MOST_SELF_BYTES: Final = 64 << 20  # bytes; chosen: a larger file is not read as the bill itself


@checked
def verify_bom(
    bom: Mapping[str, Any],
    *,
    model: Manifest | str | os.PathLike[str] | None = None,
    datasets: Mapping[str, Manifest | str | os.PathLike[str]] | None = None,
    verified: Verified | None = None,
    robustness: Mapping[str, Any] | None = None,
    artifact: str = "bom",
) -> BomReport:
    """Verify the fields of a bill of materials.

    Args:
        bom: Parsed JSON of a CycloneDX bill.
        model: The model or its manifest; its folder may contain the bill itself.
        datasets: Name in the bill → data set or its manifest.
        verified: Result of `mlsecops.verify`; without it, signer and provenance are asserted.
        robustness: Plain values of the robustness report that the bill quotes.
        artifact: Path or name of the bill, for the findings.

    Raises:
        UsageError: A path cannot be read.
        MissingExtra: The extra `bom` is not installed.
    """
    if verified is not None:
        of_type("verified", verified, "to_dict", "a Verified")
    check = _Check(bom=bom, artifact=artifact)
    check.findings.extend(lint_bom(bom, artifact=artifact))
    check.words()
    check.model(model)
    check.datasets(datasets or {})
    check.references()
    check.signature(verified)
    check.robustness(robustness)
    return BomReport(fields=tuple(check.fields), findings=tuple(check.findings))


class _Check:
    def __init__(self, *, bom: Mapping[str, Any], artifact: str) -> None:
        self.bom = bom
        self.artifact = artifact
        self.fields: list[BomField] = []
        self.findings: list[Finding] = []
        self.components = [node for node in walk(bom) if is_component(node)]
        models = self.of_kind("machine-learning-model")
        self.subject = models[0] if models else BomNode("components", {})

    def of_kind(self, kind: str) -> list[BomNode]:
        return [node for node in self.components if node.value.get("type") == kind]

    def state(
        self, name: str, state: FieldState, detail: str, *, counts: bool = True, word: bool = False
    ) -> None:
        self.fields.append(
            BomField(name=shown(name), state=state, detail=detail, counts=counts, word=word)
        )

    def refuse(
        self, rule: str, message: str, where: str, severity: Severity = Severity.HIGH
    ) -> None:
        place = {"where": shown(where), "artifact": self.artifact}
        self.findings.append(Finding(rule=rule, severity=severity, message=message, **place))

    def words(self) -> None:
        metadata = inner(self.bom, "metadata")
        parameters = inner(self.subject.value, "modelCard", "modelParameters")
        self._word("serialNumber", self.bom.get("serialNumber"), "serialNumber")
        self._word("timestamp", metadata.get("timestamp"), "metadata.timestamp")
        self._word("model.name", self.subject.value.get("name"), f"{self.subject.path}.name")
        for key in ("task", "architectureFamily", "modelArchitecture"):
            path = f"{self.subject.path}.modelCard.modelParameters.{key}"
            self._word(f"model.{key}", parameters.get(key), path, word=True)
        for key in ("description", "licenses", "supplier", "manufacturer", "authors"):
            path = f"{self.subject.path}.{key}"
            self._word(f"model.{key}", self.subject.value.get(key), path, word=True)
        for node in self.components:
            for key in ("name", "version", "description", "author", "publisher"):
                self._placeholder(node, key)

    def _measured(self, report: Mapping[str, Any]) -> None:
        nodes = (self.subject, *_parts(self.subject).values())
        ours = {str(digest) for node in nodes for digest in _digests(node.value)}
        if report.get("model_digest") in ours:
            self.state("robustness", FieldState.VERIFIED, "equal to the report of this digest")
        else:
            detail = "equal to the report, which does not name the model's digest"
            self.state("robustness", FieldState.ASSERTED, detail)

    def _about(self, report: Mapping[str, Any]) -> bool:
        """Whether the bill says of the report what it is about, and nothing else."""
        card = inner(self.subject.value, "modelCard")
        return all(
            stated == row["value"]
            for row in report_properties(report)
            for stated in _properties(card, row["name"])
        )

    def _word(self, name: str, value: Any, path: str, *, word: bool = False) -> None:
        if value is None:
            self.state(name, FieldState.ABSENT, f"{path} is absent", counts=False, word=word)
        elif is_placeholder(value):
            self.state(name, FieldState.PLACEHOLDER, f"{path} has no meaning", word=word)
        else:
            self.state(name, FieldState.ASSERTED, "cannot be verified", counts=False, word=word)

    def _placeholder(self, node: BomNode, key: str) -> None:
        value = node.value.get(key)
        if value is not None and is_placeholder(value):
            message = f"{called(node.value)}: {key} is a placeholder; fill it in or remove it"
            self.refuse("placeholder", message, f"{node.path}.{key}", Severity.MEDIUM)

    def model(self, given: Manifest | str | os.PathLike[str] | None) -> None:
        actual = None if given is None else _manifest(given)
        if given is not None and actual is not None and not isinstance(given, Manifest):
            actual = _without_own_bill(actual, Path(given), self.bom)
        self.digests("model", self.subject, actual)

    def datasets(self, given: Mapping[str, Manifest | str | os.PathLike[str]]) -> None:
        listed = {str(node.value.get("name")): node for node in self.of_kind("data")}
        if not listed:
            self.state("datasets", FieldState.ABSENT, "the bill names no data set")
        for name in sorted(listed):
            actual = _manifest(given[name]) if name in given else None
            self.digests(f"dataset.{name}", listed[name], actual)
        for name in sorted(set(given) - set(listed)):
            message = f"data set {shown(name)!r}: expected it in the bill; add it"
            self.refuse("dataset-unlisted", message, "components")

    def digests(self, name: str, node: BomNode, actual: Manifest | None) -> None:
        recorded = _digests(node.value)
        if not recorded:
            self.state(f"{name}.digest", FieldState.ABSENT, "no digest is recorded")
            return
        if any(not any(digest.value) for digest in recorded):
            self.state(f"{name}.digest", FieldState.PLACEHOLDER, "the digest is all zeros")
            return
        if actual is None:
            self.state(f"{name}.digest", FieldState.ASSERTED, "not recomputed: no files given")
            return
        parts = self.parts(name, node, actual)
        stated = _properties(node.value, "mlsecops:digest")
        for count in _properties(node.value, "mlsecops:parts"):
            if not _parts(node) and count != str(len(actual.entries)):
                message = f"{shown(name)}: the bill has {shown(count)} parts, there are"
                self.refuse("parts-mismatch", f"{message} {len(actual.entries)}", node.path)
        same = all(digest in _roots(actual, recorded) for digest in recorded)
        if same and all(each == str(actual.root) for each in stated):
            state = FieldState.VERIFIED if parts else FieldState.ASSERTED
            self.state(f"{name}.digest", state, f"recomputed: {actual.root.short}")
            return
        self.state(f"{name}.digest", FieldState.ASSERTED, "the recomputed digest differs")
        message = f"{name}: the bill has {recorded[0].short}, the files have"
        self.refuse("digest-mismatch", f"{shown(message)} {actual.root.short}", node.path)

    def parts(self, name: str, node: BomNode, actual: Manifest) -> bool:
        listed = _parts(node)
        if not listed:
            return True
        there = {entry.name: entry for entry in actual.entries}
        if actual.single and len(listed) == 1:
            there = {next(iter(listed)): actual.entries[0]}
        holds = True
        for part in sorted(set(listed) | set(there)):
            holds &= self.part(f"{name}.{part}", listed.get(part), there.get(part))
        return holds

    def part(self, name: str, node: BomNode | None, entry: Entry | None) -> bool:
        if node is None:
            message = f"{shown(name)} is not in the bill; list it or remove it"
            self.refuse("part-unlisted", message, self.subject.path)
            return False
        recorded, actual = _digests(node.value), None if entry is None else entry.digest
        size = None if entry is None else entry.size
        for stated in _properties(node.value, "mlsecops:bytes"):
            if size is not None and stated != str(size):
                message = f"{shown(name)}: the bill has {shown(stated)} bytes, the file has {size}"
                self.refuse("size-mismatch", message, node.path)
        if actual is not None and recorded and all(each == actual for each in recorded):
            self.state(name, FieldState.VERIFIED, f"recomputed: {actual.short}", counts=False)
            return True
        got = "the file is missing" if actual is None else f"the file has {actual.short}"
        expected = recorded[0].short if recorded else "no digest"
        state = FieldState.ASSERTED if recorded else FieldState.ABSENT
        self.state(name, state, got, counts=False)
        message = f"{shown(name)}: the bill has {expected}, {got}"
        self.refuse("digest-mismatch", message, node.path)
        return False

    def references(self) -> None:
        broken = {finding.rule for finding in self.findings} & {"dangling-ref", "duplicate-ref"}
        found = FieldState.ASSERTED if broken else FieldState.VERIFIED
        self.state("references", found, "every reference was checked")

    def signature(self, verified: Verified | None) -> None:
        signers = _properties(self.subject.value, "mlsecops:signer")
        if verified is None:
            claims = (("signer", signers), ("provenance", self._recorded_statements()))
            for name, values in claims:
                state = FieldState.ASSERTED if values else FieldState.ABSENT
                self.state(name, state, "no verified signature was given")
            return
        self._signed_model(verified)
        self._signers(signers, verified)
        self._provenance(verified)

    def _signed_model(self, verified: Verified) -> None:
        signed = {entry.digest for entry in verified.manifest.entries}
        for part, node in sorted(_parts(self.subject).items()):
            if not set(_digests(node.value)) <= signed:
                message = f"{shown(part)}: the signature does not cover the digest in the bill"
                self.refuse("signature-mismatch", message, node.path)

    def _signers(self, recorded: list[str], verified: Verified) -> None:
        others = [each for each in recorded if each not in verified.signers]
        for other in others:
            message = f"signer {shown(other)!r} of the bill did not sign the model"
            self.refuse("signer-mismatch", message, f"{self.subject.path}.properties")
        if not recorded:
            self.state("signer", FieldState.ABSENT, "the bill names no signer")
            return
        state = FieldState.ASSERTED if others else FieldState.VERIFIED
        self.state("signer", state, "compared with the model's signature")

    def _recorded_statements(self) -> list[str]:
        nodes = walk(self.bom.get("formulation"), "formulation")
        name = "mlsecops:provenance:statement"
        return [value for node in nodes for value in _properties(node.value, name)]

    def _provenance(self, verified: Verified) -> None:
        signed = {str(Digest.of(each.payload)): each for each in verified.statements}
        recorded = self._recorded_statements()
        if not recorded:
            self.state("provenance", FieldState.ABSENT, "the bill has no provenance")
        elif all(each in signed for each in recorded):
            self.state("provenance", FieldState.VERIFIED, "equal to a signed statement")
        else:
            self.state("provenance", FieldState.ASSERTED, "not a statement of the model's bundle")
            message = "the provenance of the bill is not a signed statement of the model"
            self.refuse("provenance-mismatch", message, "formulation")
        for statement in signed.values():
            if statement.predicate_type == SLSA_PROVENANCE:
                self._claims(statement)

    def _claims(self, statement: Statement) -> None:
        """Compare packages, data sets and training run with a signed statement."""
        output = str(self.subject.value.get("bom-ref"))
        for claims in compared_claims(self.components, self.bom, statement, output=output):
            for each in claims.differences:
                self.refuse(each.rule, each.message, each.where)
            name = f"provenance.{claims.name}"
            if claims.differences:
                self.state(name, FieldState.ASSERTED, "differs from the signed provenance")
            elif not claims.stated:
                self.state(name, FieldState.ABSENT, "the bill does not state it", counts=False)
            elif claims.signed:
                self.state(name, FieldState.VERIFIED, "equal to the signed provenance")
            else:
                detail = "the signed provenance does not state it"
                self.state(name, FieldState.ASSERTED, detail, counts=False)

    def robustness(self, report: Mapping[str, Any] | None) -> None:
        analysis = inner(self.subject.value, "modelCard", "quantitativeAnalysis")
        quoted = analysis.get("performanceMetrics")
        path = f"{self.subject.path}.modelCard.quantitativeAnalysis"
        if not quoted:
            self.state("robustness", FieldState.ABSENT, "no measurement is quoted")
        elif report is None:
            self.state("robustness", FieldState.ASSERTED, "no report was given")
        elif quoted == performance_metrics(report) and self._about(report):
            self._measured(report)
        else:
            self.state("robustness", FieldState.ASSERTED, "the report differs")
            message = "the quoted measurement differs from the robustness report"
            self.refuse("robustness-mismatch", message, path)


def _manifest(given: Manifest | str | os.PathLike[str]) -> Manifest:
    return given if isinstance(given, Manifest) else hash_path(given)


def _without_own_bill(actual: Manifest, folder: Path, bom: Mapping[str, Any]) -> Manifest:
    """The manifest without the bill itself, which cannot contain its own digest."""
    kept = tuple(
        entry
        for entry in actual.entries
        if not (entry.name.endswith(".cdx.json") and _is_this(folder / entry.name, bom))
    )
    return actual if len(kept) == len(actual.entries) else replace(actual, entries=kept)


def _is_this(path: Path, bom: Mapping[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size > _MOST_SELF_BYTES:
        return False
    try:
        return bool(parse_json(path.read_bytes(), what=str(path), error=FormatRefused) == bom)
    except FormatRefused:
        return False


def _roots(actual: Manifest, recorded: list[Digest]) -> set[Digest]:
    """Digests of the whole: the root, and that of a single file."""
    own = {entry.digest for entry in actual.entries} if actual.single else set()
    return {actual.root} | (own & set(recorded))


def _digests(component: Mapping[str, Any]) -> list[Digest]:
    listed = component.get("hashes")
    found = []
    for each in listed if isinstance(listed, list) else ():
        algorithm = _ALGORITHM_OF.get(str(inner({"": each}, "").get("alg")))
        if algorithm is not None:
            try:
                found.append(Digest(algorithm, bytes.fromhex(str(each.get("content")))))
            except (ValueError, UsageError):
                continue
    return found


def _parts(node: BomNode) -> dict[str, BomNode]:
    listed = node.value.get("components")
    return {
        str(each.get("name")): BomNode(f"{node.path}.components[{index}]", each)
        for index, each in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    }


def _properties(value: Mapping[str, Any], name: str) -> list[str]:
    listed = value.get("properties")
    rows = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    values = (str(each.get("value", "")) for each in rows if each.get("name") == name)
    return [each for each in values if each]
