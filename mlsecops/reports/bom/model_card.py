"""Model card of a bill: purpose, limits and parameters of a model, stated by its owner.

options, and a README of a hub or the JSON of a model card toolkit → StatedCard → CycloneDX fields

What stands here is asserted: nothing but its author vouches for it.

Source: CycloneDX 1.6 and 1.7, modelCard; Hugging Face, Model cards (metadata in YAML); TensorFlow
Model Card Toolkit, schema 0.0.2.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mlsecops._extras import require
from mlsecops._json import parse_json
from mlsecops.errors import UsageError
from mlsecops.reports.redaction import shown

_MOST_BYTES: Final = 4 << 20  # bytes; chosen: a model card is a text, not data
_LONGEST: Final = 2000  # characters; chosen: a statement is a paragraph, the rest is cut
_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_SECTIONS: Final = {
    "use_cases": ("intended use", "direct use", "downstream use", "uses", "use cases"),
    "limitations": ("limitation", "out-of-scope", "risks"),
    "ethics": ("ethical", "bias"),
    "fairness": ("fairness",),
    "users": ("users", "audience"),
}
"""Field → words of the heading of its section in a README."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedCard:
    """Statements of a model's owner, each absent if None or empty.

    Attributes:
        description: Purpose of the model.
        license: Declared licence.
        supplier: Organisation or person who supplies the model.
        task: Task (`"image classification"`).
        architecture: Name of the architecture (`"ResNet-18"`).
        url: Address of the model card, relative to the bill.
        users: Intended users.
        use_cases: Intended uses.
        limitations: Technical limitations.
        ethics: Ethical considerations.
        fairness: Groups at risk and harms.
        energy_kwh: Energy that the training used, in kilowatt-hours.
    """

    description: str | None = None
    license: str | None = None
    supplier: str | None = None
    task: str | None = None
    architecture: str | None = None
    url: str | None = None
    users: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    ethics: tuple[str, ...] = ()
    fairness: tuple[str, ...] = ()
    energy_kwh: float | None = None

    def over(self, other: StatedCard) -> StatedCard:
        """This card, with what it leaves out taken from the other one."""
        absent = {
            name: getattr(other, name)
            for name in self.__slots__
            if getattr(self, name) in (None, ())
        }
        return replace(self, **absent)

    def component_fields(self) -> dict[str, Any]:
        """Fields of the model's component."""
        page = [{"type": "model-card", "url": self.url}] if self.url else []
        return {
            **({"description": self.description} if self.description else {}),
            **({"supplier": {"name": self.supplier}} if self.supplier else {}),
            **({"externalReferences": page} if page else {}),
        }

    def parameters(self) -> dict[str, str]:
        """Fields of `modelCard.modelParameters`."""
        name = self.architecture
        return {
            **({"task": self.task} if self.task else {}),
            **({"architectureFamily": _family(name), "modelArchitecture": name} if name else {}),
        }

    def considerations(self) -> dict[str, Any]:
        """Field `modelCard.considerations`, or nothing."""
        found: dict[str, Any] = {
            "users": list(self.users),
            "useCases": list(self.use_cases),
            "technicalLimitations": list(self.limitations),
            "ethicalConsiderations": [{"name": each} for each in self.ethics],
            "fairnessAssessments": [{"harms": each} for each in self.fairness],
        }
        if self.energy_kwh is not None:
            found["environmentalConsiderations"] = {"energyConsumptions": [self._energy()]}
        kept = {key: value for key, value in found.items() if value}
        return {"considerations": kept} if kept else {}

    def _energy(self) -> dict[str, Any]:
        provider = {
            "organization": {"name": self.supplier or "stated by the model card"},
            "energySource": "unknown",
            "energyProvided": {"value": self.energy_kwh, "unit": "kWh"},
        }
        cost = {"value": self.energy_kwh, "unit": "kWh"}
        return {"activity": "training", "energyProviders": [provider], "activityEnergyCost": cost}


def _family(architecture: str) -> str:
    """Letters at the start of an architecture's name (`"ResNet"` of `"ResNet-18"`)."""
    match = re.match(r"[A-Za-z][A-Za-z ]*[A-Za-z]", architecture)
    return architecture if match is None else match[0]


def read_card(path: str | os.PathLike[str]) -> StatedCard:
    """The model card in a README of a hub (Markdown) or of a model card toolkit (JSON).

    Args:
        path: File, at most 4 MiB.

    Raises:
        UsageError: The file cannot be read, or is no card.
        MissingExtra: The extra `bom` is not installed.
    """
    place = Path(path)
    try:
        if place.stat().st_size > _MOST_BYTES:
            raise UsageError(f"card {place}: expected at most {_MOST_BYTES >> 20} MiB; shorten it")
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"card: cannot read {place}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"card {place}: expected UTF-8 text: {error}") from error
    if text.lstrip().startswith("{"):
        card = _from_toolkit(parse_json(text, what=f"card {place}", error=UsageError), place)
    else:
        card = _from_readme(text, place)
    return replace(card, url=quote(place.name))


def _from_readme(text: str, place: Path) -> StatedCard:
    match = _FRONT_MATTER.match(text)
    about = _yaml(match[1], place) if match else {}
    body = text[match.end() :] if match else text
    sections: dict[str, Any] = {
        field: tuple(_sections(body, words)) for field, words in _SECTIONS.items()
    }
    emissions = about.get("co2_eq_emissions")
    energy = emissions.get("energy_consumed") if isinstance(emissions, Mapping) else None
    return StatedCard(
        description=_first_paragraph(body),
        license=_text(about.get("license_name") or about.get("license")),
        task=_text(about.get("pipeline_tag")),
        architecture=_text(about.get("architecture") or about.get("model_type")),
        supplier=_text(about.get("author") or about.get("organization")),
        energy_kwh=float(energy) if isinstance(energy, int | float) else None,
        **sections,
    )


def _yaml(text: str, place: Path) -> Mapping[str, Any]:
    yaml = require("yaml")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"card {place}: expected YAML between the lines ---: {error}") from error
    return found if isinstance(found, Mapping) else {}


def _sections(body: str, words: Iterable[str]) -> Iterator[str]:
    headings = list(_HEADING.finditer(body))
    ends = [*(each.start() for each in headings[1:]), len(body)]
    for here, end in zip(headings, ends, strict=False):
        title = here[1].lower()
        paragraph = _plain(body[here.end() : end])
        if paragraph and any(word in title for word in words):
            yield paragraph


def _first_paragraph(body: str) -> str | None:
    for part in re.split(r"\n[ \t]*\n", body):
        paragraph = _plain(_HEADING.sub("", part))
        if paragraph and not paragraph.startswith(("<", "!", "[", "|", "```")):
            return paragraph
    return None


def _plain(text: str) -> str:
    return shown(" ".join(text.split()), most=_LONGEST)


def _text(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    words = [_plain(str(each)) for each in values if isinstance(each, str | int | float)]
    return " AND ".join(each for each in words if each) or None


def _from_toolkit(card: Any, place: Path) -> StatedCard:
    if not isinstance(card, Mapping) or not {"model_details", "considerations"} & card.keys():
        raise UsageError(
            f"card {place}: expected model_details or considerations, as a model card toolkit "
            f"writes them, got {shown(json.dumps(card))}"
        )
    details = _mapping(card.get("model_details"))
    parameters = _mapping(card.get("model_parameters"))
    considerations = _mapping(card.get("considerations"))
    licenses = [_mapping(each) for each in _list(details.get("licenses"))]
    owners = [_text(_mapping(each).get("name")) for each in _list(details.get("owners"))]
    return StatedCard(
        description=_text(details.get("overview")),
        license=_text([each.get("identifier") or each.get("custom_text") for each in licenses]),
        supplier=next((each for each in owners if each), None),
        architecture=_text(parameters.get("model_architecture")),
        users=_described(considerations.get("users")),
        use_cases=_described(considerations.get("use_cases")),
        limitations=_described(considerations.get("limitations")),
        ethics=_described(considerations.get("ethical_considerations")),
    )


def _described(value: Any) -> tuple[str, ...]:
    rows = [each if isinstance(each, Mapping) else {"name": each} for each in _list(value)]
    texts = (_text(row.get("description") or row.get("name")) for row in rows)
    return tuple(text for text in texts if text)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
