"""Blocks of protection, and the policy of a call in nested, threaded and async code.

policy → `protect` → block, active while it lasts → the calls of this process → `verified`

In the thread or task that entered blocks, the innermost applies; elsewhere the one entered last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, Self

from mlsecops._choices import checked, one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.integrations.protection.calls import Call
from mlsecops.integrations.protection.patching import install, uninstall
from mlsecops.integrations.protection.verified import verified_call
from mlsecops.loading import Limits
from mlsecops.loading.holding.part import HoldOptions
from mlsecops.provenance import Isolation
from mlsecops.signing import TrustPolicy

__all__ = ["Protection", "protect"]

_lock: Final = threading.Lock()
_active: Final[list[Protection]] = []
_own: ContextVar[tuple[Protection, ...]] = ContextVar("mlsecops_protection", default=())


@concise_repr("_options.policy", "_options.tier")
class Protection:
    """A block in which loading calls read verified bytes; made by `protect`.

    Args:
        options: The policy and how to hold.
    """

    def __init__(self, options: HoldOptions) -> None:
        self._options = options

    def __enter__(self) -> Self:
        with _lock:
            if self in _active:
                raise UsageError("protect: this block is entered already; make another for nesting")
            if not _active:
                install(_through)
            _active.append(self)
        _own.set((*_own.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _own.set(tuple(block for block in _own.get() if block is not self))
        with _lock:
            _active.remove(self)
            if not _active:
                uninstall()

    @property
    def options(self) -> HoldOptions:
        """The policy and how bytes are held."""
        return self._options


@checked
def protect(
    policy: TrustPolicy,
    *,
    tier: Literal["sealed", "private-copy"] = "sealed",
    allow_globals: Collection[str] = (),
    allow_unchecked: bool = False,
    limits: Limits | None = None,
    isolation: Isolation | None = None,
) -> Protection:
    """Let the loading calls of this process read verified bytes, or raise, while a block lasts.

    `torch.load`, safetensors' loaders, `joblib.load`, `numpy.load`, Keras' `load_model`,
    `onnx.load`, `InferenceSession` and `from_pretrained` give what they give without the block,
    from bytes that the policy vouches for and the scan passes. Streams and unsigned paths are
    refused.

    Args:
        policy: Who may sign a model.
        tier: How bytes are held; a leased file would not outlive a call whose result reads later.
        allow_globals: As for `SecureLoader`.
        allow_unchecked: As for `SecureLoader.hold`.
        limits: Resource limits; the defaults otherwise.
        isolation: Source of isolated digests (a registry).

    Returns:
        A context manager. It holds for the process: threads and tasks included.

    Raises:
        UsageError: An option is wrong.

    Examples:
        >>> import mlsecops, numpy
        >>> signer = mlsecops.Signer.generate("p256")
        >>> numpy.save("mean.npy", numpy.zeros(3))
        >>> _ = mlsecops.sign("mean.npy", signer)
        >>> with mlsecops.protect(mlsecops.TrustPolicy(keys=[signer.public_key])):
        ...     numpy.load("mean.npy")
        array([0., 0., 0.])
    """
    one_of("tier", tier, ("sealed", "private-copy"))
    return Protection(
        HoldOptions(
            policy=policy,
            tier=tier,
            allow_globals=tuple(allow_globals),
            allow_unchecked=allow_unchecked,
            limits=limits or Limits(),
            isolation=isolation,
        )
    )


def _current() -> Protection | None:
    with _lock:
        for block in reversed(_own.get()):
            if block in _active:
                return block
        return _active[-1] if _active else None


def _through(
    call: Call, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    block = _current()
    if block is None:
        return original(*args, **kwargs)
    return verified_call(call, original, args, kwargs, block.options)
