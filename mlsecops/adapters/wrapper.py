"""What an Adapter over another one says of itself: the same as the one behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter

__all__ = ["Wrapped"]


@dataclass(slots=True, kw_only=True, eq=False)
class Wrapped:
    """The facts of an Adapter, for another one that stands in front of it.

    Attributes:
        inner: The Adapter behind.
    """

    inner: Adapter
    framework: str = field(init=False)
    model: Any = field(init=False)
    channels_first: bool = field(init=False)
    differentiable: bool = field(init=False)

    def __post_init__(self) -> None:
        self.framework, self.model = self.inner.framework, self.inner.model
        self.channels_first = self.inner.channels_first
        self.differentiable = self.inner.differentiable
