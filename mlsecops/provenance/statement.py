"""in-toto Statement: a claim about digests, kept as the exact bytes that are signed.

Source: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import MalformedBundle, UsageError
from mlsecops.provenance.digest import SIZES, Digest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
SLSA_PROVENANCE: Final = "https://slsa.dev/provenance/v1"
FILE_SUBJECT: Final = "#file"
"""End of the name of a subject with the digest of a single file's bytes; without it, the root."""


@concise_repr("predicate_type", "subjects", "payload")
@checked
@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto Statement with the bytes it was read from.

    Attributes:
        payload: Exact JSON bytes; these are signed and never encoded again.

    Raises:
        MalformedBundle: The bytes are no Statement v1.
    """

    payload: bytes
    _value: dict[str, Any] = field(init=False, repr=False, compare=False)
    _subjects: dict[str, Digest] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        value = parse_object(self.payload, what="statement", error=MalformedBundle)
        if value.get("_type") != STATEMENT_TYPE:
            raise MalformedBundle(
                f"statement: expected _type {STATEMENT_TYPE}, got {value.get('_type')!r}"
            )
        if not isinstance(value.get("predicateType"), str):
            raise MalformedBundle("statement: expected a predicateType, got none")
        if not isinstance(value.get("predicate", {}), dict):
            raise MalformedBundle("statement: expected the predicate to be an object")
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_subjects", _subjects(value.get("subject")))

    @classmethod
    @checked
    def build(
        cls,
        *,
        subjects: Mapping[str, Digest],
        predicate_type: str,
        predicate: Mapping[str, Any],
    ) -> Statement:
        """Make a statement: a claim of some type (a URI), in values for JSON, about named digests.

        Raises:
            UsageError: There is no subject, or the predicate is not JSON.
        """
        if not subjects:
            raise UsageError(
                "subjects: expected at least one, got none; name what the statement is about"
            )
        value = {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {digest.algorithm: digest.hex}}
                for name, digest in subjects.items()
            ],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
        try:
            text = json.dumps(
                value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=False
            )
            payload = text.encode()  # a name that is no UTF-8 has no form in JSON
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"predicate of {predicate_type}: expected values for JSON: {error}"
            ) from error
        return cls(payload)

    @property
    def predicate_type(self) -> str:
        """URI of the kind of claim."""
        return str(self._value["predicateType"])

    @property
    def predicate(self) -> dict[str, Any]:
        """The claim itself; a fresh copy."""
        predicate: dict[str, Any] = self.to_dict().get("predicate", {})
        return predicate

    @property
    def subjects(self) -> dict[str, Digest]:
        """Names → the first digest of a known algorithm."""
        return dict(self._subjects)

    def to_dict(self) -> dict[str, Any]:
        """The parsed JSON; a fresh copy."""
        value: dict[str, Any] = json.loads(self.payload)
        return value


def _subjects(value: object) -> dict[str, Digest]:
    if not isinstance(value, list) or not value:
        raise MalformedBundle("statement: expected at least one subject")
    subjects: dict[str, Digest] = {}
    for item in value:
        name, digest = _subject(item)
        if name in subjects:
            raise MalformedBundle(f"statement: subject {name!r} is repeated")
        subjects[name] = digest
    return subjects


def _subject(item: object) -> tuple[str, Digest]:
    if not isinstance(item, dict) or not isinstance(item.get("digest"), dict):
        raise MalformedBundle("statement: expected each subject to have a name and digests")
    name = item.get("name", "")
    for algorithm, text in item["digest"].items():
        if algorithm in SIZES and isinstance(name, str):
            return name, _digest(algorithm, text, name)
    raise MalformedBundle(
        f"statement: subject {name!r} has no digest of a known algorithm ({', '.join(SIZES)})"
    )


def _digest(algorithm: str, text: object, name: str) -> Digest:
    try:
        return Digest.parse(f"{algorithm}:{text}")
    except UsageError as error:
        raise MalformedBundle(f"statement: subject {name!r}: {error}") from error
