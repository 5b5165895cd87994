"""Load of an artifact that is signed in shards: tensors, and the proof of what was compared.

Opened → files open → `ranged_tensors` → Manifest of what was read → Verified with `compared`
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mlsecops.adapters import torch_weights
from mlsecops.errors import UsageError
from mlsecops.loading.holding.signed_files import Opened
from mlsecops.loading.limits import Limits
from mlsecops.loading.ranges.ranged_tensors import read_tensors
from mlsecops.loading.ranges.sharded_files import ShardedFiles
from mlsecops.loading.recheck import require_not_isolated
from mlsecops.provenance import Isolation
from mlsecops.provenance.files.hashing import Progress
from mlsecops.signing import Verified


def load_ranged(
    opened: Opened,
    *,
    tensors: Collection[str] | None,
    limits: Limits,
    isolation: Isolation | None,
    framework: str | None,
    into: Any,
    device: str,
    progress: Progress | None,
) -> tuple[Any, Verified]:
    """Tensors (or the caller's module, filled) and the proof.

    Args:
        opened: The claim and the files.
        tensors: Wanted names, or None for all.
        limits: Resource limits.
        isolation: Source of isolated digests, or None.
        framework: As for `read_tensors`.
        into: The caller's torch module to fill, or None.
        device: As for `read_tensors`.
        progress: Called with bytes read and bytes to read.

    Raises:
        UsageError: `into=` and `tensors=` are both given, or `into=` is no torch module.
        DigestMismatch: A file or shard is not the signed one.
        FormatRefused: The files are not safetensors, or malformed.
    """
    if into is not None and (tensors is not None or not torch_weights.is_module(into)):
        raise UsageError(
            "into= takes all tensors and a torch module; leave out tensors=, or fill it yourself"
        )
    files = opened.files
    held = ShardedFiles(
        files={**files.read, **files.companions},
        signed=opened.signed.manifest,
        single=files.single,
        limits=limits,
        where=opened.where,
        progress=progress,
    )
    with held:
        held.require_names()
        found = read_tensors(
            held,
            files,
            tensors=tensors,
            limits=limits,
            framework="torch" if into is not None else framework,
            device=device,
        )
        require_not_isolated(held.compared.values(), isolation, where=opened.where)
        verified = opened.verifier.match(
            opened.signed,
            held.manifest(),
            where=opened.where,
            ignored=opened.hidden,
            compared=None if tensors is None else held.compared,
        )
    return found if into is None else torch_weights.fill_module(into, found), verified


def only(model: Any, tensors: Collection[str] | None) -> Any:
    """The wanted tensors of a model that was loaded whole.

    Raises:
        UsageError: The model is no mapping of names to tensors, or lacks one.
    """
    if tensors is None:
        return model
    if not isinstance(model, Mapping):
        raise UsageError(
            f"tensors= picks from names and tensors, and this model is a {type(model).__name__}; "
            "leave it out"
        )
    missing = sorted(frozenset(tensors) - model.keys())
    if missing:
        raise UsageError(
            f"tensors: the model has no {', '.join(missing[:5])}; it has {len(model)}, such as "
            f"{', '.join(sorted(model)[:5])}"
        )
    return {name: model[name] for name in tensors}
