"""Trust policy file: TOML in, keyword arguments of `TrustPolicy` out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from mlsecops._bounded.toml import parse_toml
from mlsecops.errors import UsageError
from mlsecops.signing.identities.identity import Identity
from mlsecops.signing.identities.trusted_root import TrustedRootSource
from mlsecops.signing.keys import PublicKey, load_certificates
from mlsecops.signing.requirements.requirement import Requirement
from mlsecops.signing.scope import Scope, TrustedKey, TrustedRoot

_TOP: Final = {
    "keys", "roots", "identities", "trusted_root", "timestamp_roots", "threshold", "revoked",
    "floor", "algorithms", "require", "code",
}  # fmt: skip
_MATERIAL: Final = {"path", "pem"}
_SCOPE: Final = {"models", "not_before", "not_after"}
_ITEM: Final = {*_MATERIAL, *_SCOPE}
_ROOT: Final = {*_ITEM, "subjects"}
_NAMES: Final = {"subject", "issuer"}
_IDENTITY: Final = {*_NAMES, *_SCOPE, "trusted_root"}


def read_policy(place: Path) -> dict[str, Any]:
    """Arguments of a TrustPolicy from a TOML file; key paths are relative to its folder.

    Raises:
        UsageError: The file cannot be read, or a key or value in it is not valid.
    """
    value = _parse(place)
    _require_known(value, _TOP, str(place))
    threshold, revoked = value.get("threshold", 1), value.get("revoked", [])
    if type(threshold) is not int or not isinstance(revoked, list):
        raise UsageError(f"{place}: expected threshold to be a number and revoked a list")
    floor = value.get("floor", 0)
    if not isinstance(floor, (int, dict)):
        raise UsageError(f"{place}: expected floor to be a version, or a table pattern = version")
    return {
        "keys": [
            TrustedKey(PublicKey.load(_material(item, place)), _scope(item, place))
            for item in _items(value, "keys", place)
        ],
        "roots": [
            TrustedRoot(certificate, _scope(item, place), _patterns(item, "subjects", place))
            for item in _items(value, "roots", place, _ROOT)
            for certificate in load_certificates(_material(item, place))
        ],
        "identities": [
            Identity(
                **_names(item, place),
                scope=_scope(item, place),
                trusted_root=_trusted_root(item, place),
            )
            for item in _items(value, "identities", place, _IDENTITY)
        ],
        "trusted_root": _trusted_root(value, place),
        "timestamp_roots": [
            _material(item, place) for item in _items(value, "timestamp_roots", place, _MATERIAL)
        ],
        "threshold": threshold,
        "revoked": [_revoked(item, place) for item in revoked],
        "require": _requirement(value.get("require", {}), place),
        "floor": floor,
        "code": value.get("code", []),
        **_algorithms(value, place),
    }


def _names(item: Mapping[str, Any], place: Path) -> dict[str, Any]:
    if not item.keys() >= _NAMES:
        raise UsageError(f"{place}: expected each identity to have a subject and an issuer")
    return {name: item[name] for name in sorted(_NAMES)}


def _revoked(item: object, place: Path) -> Any:
    """A digest or fingerprint as it is, or an Identity of a table."""
    if not isinstance(item, dict):
        return item
    _require_known(item, _NAMES, f"{place}: revoked")
    return Identity(**_names(item, place))


def _trusted_root(item: Mapping[str, Any], place: Path) -> TrustedRootSource | None:
    """A path relative to the policy's folder, or JSON text."""
    if "trusted_root" not in item:
        return None
    text = item["trusted_root"]
    if not isinstance(text, str):
        raise UsageError(f"{place}: expected trusted_root to be a path, got {text!r}")
    return text if text.lstrip().startswith("{") else place.parent / text


def _requirement(value: object, place: Path) -> Requirement:
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected a [require] table")
    _require_known(value, set(Requirement.__slots__), f"{place}: [require]")
    try:
        return Requirement(**value)
    except UsageError as error:
        raise UsageError(f"{place}: [require] {error}") from error


def _algorithms(value: Mapping[str, Any], place: Path) -> dict[str, list[str]]:
    if "algorithms" not in value:
        return {}
    names = value["algorithms"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f'{place}: expected algorithms to be a list such as ["sha256"]')
    return {"algorithms": names}


def _parse(place: Path) -> dict[str, Any]:
    try:
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{place}: expected TOML: {error}") from error
    return parse_toml(text, what=str(place), error=UsageError)


def _items(
    value: Mapping[str, Any], key: str, place: Path, known: set[str] = _ITEM
) -> list[dict[str, Any]]:
    items = value.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UsageError(f"{place}: expected [[{key}]] tables")
    for item in items:
        _require_known(item, known, f"{place}: [[{key}]]")
    return items


def _require_known(value: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(value.keys() - known)
    if unknown:
        raise UsageError(f"{where}: unknown {unknown[0]!r}; expected {', '.join(sorted(known))}")


def _material(item: Mapping[str, Any], place: Path) -> str | Path:
    if ("path" in item) == ("pem" in item):
        raise UsageError(f"{place}: expected each key or root to have either path or pem")
    return str(item["pem"]) if "pem" in item else place.parent / str(item["path"])


def _scope(item: Mapping[str, Any], place: Path) -> Scope:
    return Scope(
        models=_patterns(item, "models", place),
        not_before=_moment(item.get("not_before"), place),
        not_after=_moment(item.get("not_after"), place),
    )


def _patterns(item: Mapping[str, Any], key: str, place: Path) -> tuple[str, ...]:
    patterns = item.get(key, [])
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        raise UsageError(f"{place}: expected {key} to be a list of patterns")
    return tuple(patterns)


def _moment(value: object, place: Path) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise UsageError(f"{place}: {value!r} is not a time: {error}") from error
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None:
        raise UsageError(f"{place}: expected a date or time, got {value!r}")
    return None
