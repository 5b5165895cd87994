"""Required claims: kinds of statements, a clean tree, data sets, builders, measured robustness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._choices import number, of_type, several, shown, whole
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.statement import SLSA_PROVENANCE

ROBUSTNESS: Final = "urn:mlsecops:robustness:1"
"""Predicate type of a robustness report."""

RED_TEAM: Final = "urn:mlsecops:red-team:1"
"""Predicate type of a red-team campaign; it counts if its verdict is a pass."""

KINDS: Final = {
    "slsa": (SLSA_PROVENANCE,),
    "cyclonedx": ("https://cyclonedx.org/bom",),
    "spdx": ("https://spdx.dev/Document",),
    "robustness": (ROBUSTNESS,),
    "red-team": (RED_TEAM,),
    "baseline": ("urn:mlsecops:dataset-baseline:1",),
}
"""Short names of statements → predicate types, of which `TYPE/VERSION` is accepted, too."""


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessFloor:
    """Accuracy that a signed robustness report must prove.

    Attributes:
        attack: Name of the attack, or `"clean"`, `"worst"` or `"certified"`.
        min_accuracy: Least accuracy, 0 to 1; the report's lower bound must reach it.
        eps: Least radius of the attack, in the units of the inputs, or None for any.
        samples: Least number of samples.

    Raises:
        UsageError: A number is out of its range.
    """

    attack: str
    min_accuracy: float
    eps: float | None = None
    samples: int = 1

    def __post_init__(self) -> None:
        if not of_type("attack", self.attack, str, "the name of an attack"):
            raise UsageError("attack: expected the name of an attack, got ''")
        number("min_accuracy", self.min_accuracy, "a share from 0 to 1", lambda x: 0 <= x <= 1)
        if self.eps is not None:
            number("eps", self.eps, "a radius above 0", lambda x: x > 0)
        whole("samples", self.samples, "a number of samples from 1 on")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Claims about a model that its signed bundle must make; by default none.

    A statement counts if it is about the whole model: its root digest, or every file of it.

    Attributes:
        statements: Kinds that must be there: `"slsa"`, `"cyclonedx"`, `"spdx"`, `"robustness"`,
            `"baseline"`, `"red-team"`, or predicate types.
        clean_tree: Whether the code must be a commit without changes, by every provenance.
        datasets: Data sets, such as `"sha256:…"`, that the provenance must name among its inputs.
        builders: Patterns of builder ids, one of which every provenance must name; `*` stands for
            any run of characters.
        robustness: One or more floors, each a RobustnessFloor or a mapping with its attributes.

    Raises:
        UsageError: A value has another form.

    Examples:
        >>> demanded = Requirement(statements=["slsa"], robustness={"attack": "fgsm",
        ...                        "min_accuracy": 0.7})
        >>> demanded.robustness[0].attack
        'fgsm'
    """

    statements: tuple[str, ...] = ()
    clean_tree: bool = False
    datasets: tuple[Digest, ...] = ()
    builders: tuple[str, ...] = ()
    robustness: tuple[RobustnessFloor, ...] = ()

    def __post_init__(self) -> None:
        kinds = several("statements", self.statements, "kinds of statements", str)
        for kind in kinds:
            if kind not in KINDS and ":" not in kind:
                raise UsageError(
                    f"statements: expected {', '.join(KINDS)} or a URI, got {shown(kind)}"
                )
        of_type("clean_tree", self.clean_tree, bool, "true or false")
        given = several("datasets", self.datasets, "digests such as 'sha256:…'", (str, Digest))
        patterns = several("builders", self.builders, "patterns of builder ids", str)
        for name, value in {
            "statements": tuple(kinds),
            "datasets": tuple(map(_digest, given)),
            "builders": tuple(patterns),
            "robustness": tuple(_floors(self.robustness)),
        }.items():
            object.__setattr__(self, name, value)

    def __bool__(self) -> bool:
        return self != Requirement()


def _digest(value: Any) -> Digest:
    return value if isinstance(value, Digest) else Digest.parse(value)


def _floors(value: Any) -> Iterable[RobustnessFloor]:
    alone = isinstance(value, (RobustnessFloor, Mapping))
    kinds = (RobustnessFloor, Mapping)
    for item in [value] if alone else several("robustness", value, "robustness floors", kinds):
        yield item if isinstance(item, RobustnessFloor) else _floor(item)


def _floor(table: Mapping[str, Any]) -> RobustnessFloor:
    known, needed = set(RobustnessFloor.__slots__), {"attack", "min_accuracy"}
    unknown, absent = sorted(table.keys() - known), sorted(needed - table.keys())
    if unknown or absent:
        got = f"an unknown {unknown[0]!r}" if unknown else f"no {absent[0]}"
        raise UsageError(
            f"robustness: expected attack and min_accuracy, and eps or samples at most, got {got}"
        )
    return RobustnessFloor(**table)
