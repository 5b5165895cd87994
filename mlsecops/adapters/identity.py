"""Digest of the model behind an Adapter, as the loader that verified its bytes named it.

Adapter, Digest → remembered while the model lives → Digest, unless the weights have changed since
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter
    from mlsecops.provenance.digest import Digest

_KNOWN: Final[WeakKeyDictionary[Any, tuple[Digest, object]]] = WeakKeyDictionary()


def remember_digest(adapter: Adapter, digest: Digest) -> None:
    """Remember whose bytes the model of an Adapter was read from."""
    for each in (adapter, adapter.model):
        try:
            _KNOWN[each] = (digest, _versions(adapter.model))
        except TypeError:  # no weak reference, or no hash
            continue


def digest_of(model: Any) -> Digest | None:
    """Digest of a verified model, or None if it is not known or the weights have changed.

    A change is seen in torch modules only, by the version counters of their tensors: a model of
    another framework that was trained further still has the digest of the bytes that it came from.

    Args:
        model: A LoadedModel, its Adapter or its model.
    """
    if hasattr(model, "adapter") and model.adapter is None:  # a LoadedModel of a regression
        found: Digest | None = getattr(model, "digest", None)
        return found
    for each in (getattr(model, "adapter", None), model):
        try:
            known = _KNOWN.get(each)
        except TypeError:
            continue
        if known is not None:
            digest, versions = known
            inner = getattr(each, "model", each)
            return digest if _versions(inner) == versions else None
    return None


def _versions(model: Any) -> object:
    """Identity and version counter of each tensor of a torch module; None for other models."""
    state = getattr(model, "state_dict", None)
    if not callable(state) or not hasattr(model, "named_parameters"):
        return None
    parts = [*model.named_parameters(), *model.named_buffers()]
    return tuple((name, id(each), each._version) for name, each in parts)  # noqa: SLF001 - torch's
