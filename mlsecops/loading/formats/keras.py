"""Whether a `.keras` archive builds only known layers and holds only its own weights.

Source: Keras 3 `saving/serialization_lib.py`, `deserialize_keras_object`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Final

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.formats.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_reader import require_contained
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
_ENTRIES: Final = frozenset({CONFIG, "metadata.json", WEIGHTS})
_BUILT_IN: Final = ("activations", "losses", "metrics", "initializers", "regularizers")
_DATA: Final = frozenset({"__tensor__", "__keras_tensor__", "__ellipsis__", "__slice__"})


def examine_keras(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check the archive, its configuration and its weights.

    Args:
        source: The archive.
        limits: Ceilings.
        allowed: Names allowed besides Keras' own: `module.Class` or `package>Name`.

    Raises:
        FormatRefused: It is malformed, or holds other files.
        UnsafeContent: Its weights refer outside.
        LimitExceeded: It declares far more than it stores.
    """
    with archive(source, limits=limits) as opened:
        extra = sorted(opened.entries.keys() - _ENTRIES)
        if extra or not opened.entries.keys() >= {CONFIG, WEIGHTS}:
            raise FormatRefused(
                f"{source.name}: expected {', '.join(sorted(_ENTRIES))} and nothing else, "
                f"got {', '.join(sorted(opened.entries))}"
            )
        config = _parse(opened.read(CONFIG, limits=limits), source.name)
        weights = opened.stored(WEIGHTS)
    walked = require_contained(
        source, where=f"{source.name}: {WEIGHTS}", limits=limits,
        start=weights.offset, size=weights.size,
    )  # fmt: skip
    # Our loader drops the model's own compilation alone (compile=False); others build it.
    compiled = config.pop("compile_config", None)
    findings = [*object_findings(config, "config", source.name, allowed, limits)]
    at = "config.compile_config"
    findings += [
        dataclasses.replace(found, severity=Severity.MEDIUM)
        for found in object_findings(compiled, at, source.name, allowed, limits)
    ]
    require_stored(config, walked.numbers, where=source.name)
    return Examination(findings=tuple(findings))


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{where}: {CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise FormatRefused(f"{where}: {CONFIG} is no JSON object")
    return config


def object_findings(
    value: Any,
    place: str,
    artifact: str,
    allowed: Collection[str],
    limits: Limits,
    *,
    legacy: bool = False,
) -> Iterator[Finding]:
    """Objects of a configuration that are not on the list.

    Args:
        value: The configuration, or a part.
        place: Where it stands.
        artifact: Name for findings.
        allowed: Names allowed besides Keras' own.
        limits: Ceiling of the nesting.
        legacy: Whether names may stand without a module, as Keras 2 wrote them; they are then
            looked up among Keras' own.

    Raises:
        LimitExceeded: It is nested too deeply.
    """
    pending = [(value, place, 0)]
    while pending:
        item, at, depth = pending.pop()
        if depth > limits.depth:
            raise LimitExceeded(f"{artifact}: {at}: nested deeper than {limits.depth}")
        if isinstance(item, dict):
            if "class_name" in item:
                yield from _object(item, at, artifact, allowed, legacy=legacy)
            pending += [(inner, f"{at}.{key}", depth + 1) for key, inner in item.items()]
        elif isinstance(item, list):
            pending += [(inner, f"{at}[{n}]", depth + 1) for n, inner in enumerate(item)]


def _object(
    item: dict[str, Any], at: str, artifact: str, allowed: Collection[str], *, legacy: bool
) -> Iterator[Finding]:
    kind, module, registered = (
        _text(item.get(key)) for key in ("class_name", "module", "registered_name")
    )
    if kind in _DATA:
        return
    leaf = _text(item.get("config")) if kind == "function" else kind
    name = f"{module}.{leaf}"
    # A registered name takes precedence over module and class when Keras resolves them.
    target = name if registered in {None, kind, leaf} else registered
    known = _known_function(module, leaf) if kind == "function" else name in listed("keras")
    if target in allowed or (known and target == name):
        return
    if legacy and module is None and registered is None and kind in _leaves():
        return
    yield Finding(
        rule="keras-lambda" if kind in {"Lambda", "__lambda__"} else "keras-object",
        severity=Severity.CRITICAL,
        message=(
            f"builds {target}, which is not on the allowlist; "
            f"if that is audited, name it in allow_globals=[{target!r}]"
        ),
        where=at,
        artifact=artifact,
    )


@cache
def _leaves() -> frozenset[str]:
    """Names without their modules, as legacy files have them."""
    return frozenset(name.rpartition(".")[2] for name in listed("keras"))


def _text(value: Any) -> str | None:
    """A name as Keras reads it; anything that is no text can be no known name."""
    return value if value is None or isinstance(value, str) else f"?{type(value).__name__}"


def _known_function(module: str | None, name: str | None) -> bool:
    if module == "builtins":
        return any(f"keras.{home}.{name}" in listed("keras") for home in _BUILT_IN)
    return f"{module}.{name}" in listed("keras")
