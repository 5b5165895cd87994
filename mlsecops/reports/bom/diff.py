"""Difference of two bills of materials: components, licences, digests and hyperparameters.

two CycloneDX bills → changes, sorted → text or JSON
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import FormatRefused
from mlsecops.reports.bom.licenses import license_names


@concise_repr("what", "name", "old", "new")
@dataclass(frozen=True, slots=True, order=True)
class BomChange:
    """One difference of two bills.

    Attributes:
        what: Field of a component (`"component"`, `"version"`, `"licence"`, `"digest"`), or
            `"hyperparameter"`.
        name: Kind and name of the component, or name of the hyperparameter.
        old: Value in the first bill; None where it is absent.
        new: Value in the second bill; None where it is absent.
    """

    what: str
    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        old, new = self.old or "absent", self.new or "absent"
        return f"{self.what} of {self.name}: {old} → {new}"

    def to_dict(self) -> dict[str, str | None]:
        """Plain values for JSON."""
        return asdict(self)


@checked
def diff_boms(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[BomChange, ...]:
    """Changes of components, versions, licences, digests and hyperparameters, sorted.

    Nothing else is compared: serial numbers, times, order, texts of the model card.

    Args:
        old: The first bill, CycloneDX 1.6 or 1.7.
        new: The second bill.

    Raises:
        FormatRefused: A part that is compared has another form than CycloneDX's.

    Examples:
        >>> package = {"type": "library", "name": "numpy", "version": "2.3"}
        >>> newer = {**package, "version": "2.4"}
        >>> [str(each) for each in diff_boms({"components": [package]}, {"components": [newer]})]
        ['version of library numpy: 2.3 → 2.4']
    """
    before, after = _read("old", old), _read("new", new)
    return tuple(
        BomChange(*key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


def _read(which: str, bom: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    try:
        return dict(_facts(bom))
    except (AttributeError, TypeError, RecursionError) as error:
        raise FormatRefused(f"{which}: expected a CycloneDX bill, got {error}") from error


def _facts(bom: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Field and name → value of all that a bill states."""
    for component in bom.get("components", ()):
        yield from _component(component, "")
    for formula in bom.get("formulation", ()):
        for workflow in formula.get("workflows", ()):
            for given in workflow.get("inputs", ()):
                for each in given.get("parameters", ()):
                    yield ("hyperparameter", str(each.get("name"))), str(each.get("value"))


def _component(component: Mapping[str, Any], owner: str) -> Iterator[tuple[tuple[str, str], str]]:
    name = f"{owner}{component.get('type', 'component')} {component.get('name', '')}"
    yield ("component", name), "present"
    if component.get("version"):
        yield ("version", name), str(component["version"])
    licenses = ", ".join(sorted(license_names(component)))
    if licenses:
        yield ("licence", name), licenses
    for each in component.get("hashes", ()):
        yield ("digest", f"{name} ({each.get('alg')})"), str(each.get("content"))
    for part in component.get("components", ()):
        yield from _component(part, f"{name}: ")
