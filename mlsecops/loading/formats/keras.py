"""Keras archive scanner: entries, allowlisted objects of the configuration, stored weights.

Source: Keras 3 `saving/serialization_lib.py`, `deserialize_keras_object`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.formats.json_walk import objects
from mlsecops.loading.formats.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_reader import require_contained
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, unlisted

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
_ENTRIES: Final = frozenset({CONFIG, "metadata.json", WEIGHTS})
_BUILT_IN: Final = ("activations", "losses", "metrics", "initializers", "regularizers")
_LIBRARIES: Final = frozenset(
    {"_distutils_hack", "absl", "cloudpickle", "dill", "fsspec", "h5py", "IPython", "jax",
     "jinja2", "joblib", "keras", "matplotlib", "mlflow", "mlsecops", "numpy", "onnx", "pandas",
     "pip", "pkg_resources", "psutil", "requests", "safetensors", "scipy", "setuptools", "sklearn",
     "skops", "tensorboard", "tensorflow", "tf_keras", "torch", "torchvision", "transformers",
     "urllib3", "wheel", "yaml"}
)  # fmt: skip
"""Packages besides Python's own that define no user's loss: Keras would import them by name."""
_DATA: Final = frozenset({"__tensor__", "__keras_tensor__", "__ellipsis__", "__slice__"})


def examine_keras(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check entries, configuration and weights; `allowed`: `module.Class` or `package>Name`."""
    with archive(source, limits=limits) as opened:
        extra = sorted(opened.entries.keys() - _ENTRIES)
        if extra or not opened.entries.keys() >= {CONFIG, WEIGHTS}:
            raise FormatRefused(
                f"{source.name}: expected {', '.join(sorted(_ENTRIES))} and nothing else, "
                f"got {', '.join(sorted(opened.entries))}"
            )
        text, what = opened.read(CONFIG, limits=limits), f"{source.name}: {CONFIG}"
        config = parse_object(text, what=what, error=FormatRefused, constants=True)
        weights = opened.stored(WEIGHTS)
    walked = require_contained(
        source, where=f"{source.name}: {WEIGHTS}", limits=limits,
        start=weights.offset, size=weights.size,
    )  # fmt: skip
    compiled = config.pop("compile_config", None)
    findings = [*object_findings(config, "config", source.name, allowed, limits)]
    at = "config.compile_config"
    findings += compiled_findings(compiled, at, source.name, allowed, limits)
    require_stored(config, walked.numbers, where=source.name)
    return Examination(findings=tuple(findings))


def compiled_findings(
    value: Any,
    place: str,
    artifact: str,
    allowed: Collection[str],
    limits: Limits,
    *,
    legacy: bool = False,
) -> Iterator[Finding]:
    """Objects that a model was compiled with, and that are not on the allowlist.

    Our reader builds none of them (`compile=False`); others build all, and import their modules. A
    user's registered loss, metric or optimizer is of medium severity.
    """
    for item, at in objects(value, place, depth=limits.depth, artifact=artifact):
        if "class_name" in item:
            for found in _object(item, str(at), artifact, allowed, legacy=legacy):
                own = found.rule == "keras-object" and _registered(item)
                yield dataclasses.replace(found, severity=Severity.MEDIUM) if own else found


def _registered(item: dict[str, Any]) -> bool:
    """Whether Keras finds an object by its registered name, or in a module of the user's own."""
    module, registered = item.get("module"), item.get("registered_name")
    if module in {"__main__", None}:
        return True  # nothing is imported
    if not isinstance(module, str) or not isinstance(registered, str) or ">" not in registered:
        return False
    return module.partition(".")[0] not in sys.stdlib_module_names | _LIBRARIES


def object_findings(
    value: Any,
    place: str,
    artifact: str,
    allowed: Collection[str],
    limits: Limits,
    *,
    legacy: bool = False,
) -> Iterator[Finding]:
    """Objects of a configuration that are not on the allowlist.

    With `legacy`, names may lack a module, as Keras 2 wrote them; those are looked up among Keras's
    own. Raises `LimitExceeded` where the configuration is nested too deeply.
    """
    for item, at in objects(value, place, depth=limits.depth, artifact=artifact):
        if "class_name" in item:
            yield from _object(item, str(at), artifact, allowed, legacy=legacy)


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
    yield unlisted(
        "keras-lambda" if kind in {"Lambda", "__lambda__"} else "keras-object",
        f"builds {target}, which is not on the allowlist",
        target,
        where=at,
        artifact=artifact,
    )


@cache
def _leaves() -> frozenset[str]:
    """Allowed names without their modules, as Keras 2 wrote them."""
    return frozenset(name.rpartition(".")[2] for name in listed("keras"))


def _text(value: Any) -> str | None:
    """A name as Keras reads it; a value of another type matches no name."""
    return value if value is None or isinstance(value, str) else f"?{type(value).__name__}"


def _known_function(module: str | None, name: str | None) -> bool:
    if module == "builtins":
        return any(f"keras.{home}.{name}" in listed("keras") for home in _BUILT_IN)
    return f"{module}.{name}" in listed("keras")
