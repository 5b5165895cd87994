"""Results of a load: the model, or a path to its checked bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlsecops._repr import concise_repr
from mlsecops.adapters import Adapter
from mlsecops.adapters.identity import remember_digest
from mlsecops.loading.snapshot_tiers import Tier
from mlsecops.loading.verdict import Unchecked
from mlsecops.provenance import Digest
from mlsecops.signing import Verified
from mlsecops.signing.naming import ExpectedName


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model whose very bytes were verified, scanned and then read.

    Attributes:
        model: The caller's model, filled (`into=`); the model itself (`.keras`); a mapping of
            name to tensor or array (safetensors, state dicts, `.npz`); an array (`.npy`).
        adapter: View of the model, or None where there are only tensors.
        digest: Root digest of the signed model.
        verified: Who vouched for what.
        tier: How the bytes were held; where files differ, the tier that promises least.
        format: Format by content.
        bundle: Bytes of the signature, for checks while the model is in use.
        expected: Name that it was expected to be signed under, for those checks; None for a model
            that its digest names.
    """

    model: Any = field(repr=False)
    adapter: Adapter | None = field(repr=False)
    digest: Digest
    verified: Verified
    tier: Tier
    format: str
    bundle: bytes = field(repr=False)
    expected: ExpectedName | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.adapter is not None:
            remember_digest(self.adapter, self.digest)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldModel:
    """A model whose bytes were verified and scanned, for another program's reader.

    Attributes:
        path: The model file, or the index of its shards; the folder itself where it holds several
            models and no file that lists them.
        folder: Where every signed file stands under its own name while the block lasts: regular
            files with those very bytes.
        digest: Root digest of the signed model.
        verified: Who vouched for what.
        tier: How the bytes are held; where files differ, the tier that promises least.
        format: Format by content; `"folder"` where it holds several models.
        unchecked: What was not looked into and is held by name (`allow_unchecked=True`).
    """

    path: str
    folder: str
    digest: Digest
    verified: Verified
    tier: Tier
    format: str
    unchecked: tuple[Unchecked, ...] = ()
