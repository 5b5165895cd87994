"""A test that returns ``(model, x, y)`` becomes a robustness gate: ``@pytest.mark.robust``.

Example::

    @pytest.mark.robust(attack=PGD(eps=0.1, steps=10), min_accuracy=0.45)
    def test_digits_withstand_pgd(model, x, y):
        return model, x, y

pytest imports this module at every start, so what needs numpy is imported when a marked test runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from mlsecops.errors import GateFailed, UsageError

_MARK: Final = "robust"
_GATE: Final = ("min_accuracy", "min_clean", "per_attack")
_EVALUATION: Final = ("seed", "batch_size", "bounds")
_USAGE: Final = "@pytest.mark.robust(attack=PGD(eps=0.1, steps=10), min_accuracy=0.45)"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "robust(attack, min_accuracy, *, min_clean, per_attack, seed, batch_size, bounds): "
        "evaluate the (model, x, y) that the test returns under one attack, or a sequence of "
        "attacks, and fail unless even the lower 95 % bound of its accuracy reaches the floor",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test, and judge what it returns; leave other tests to pytest."""
    mark = pyfuncitem.get_closest_marker(_MARK)
    if mark is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - as pytest's own caller does it
    returned = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    try:
        _judge(mark, returned)
    except GateFailed as error:
        pytest.fail(f"{pyfuncitem.name}: {error}", pytrace=False)
    except UsageError as error:
        pytest.fail(f"{pyfuncitem.name}: cannot be evaluated: {error}", pytrace=False)
    return True


def _judge(mark: pytest.Mark, returned: Any) -> None:
    from mlsecops.robustness import (  # noqa: PLC0415 - numpy stays out of pytest's start
        Gate,
        evaluate_robustness,
    )

    options = _options(mark)
    model, x, y = _parts(returned)
    gate = Gate(**{name: options[name] for name in _GATE if name in options})
    settings = {name: options[name] for name in _EVALUATION if name in options}
    attacks = options["attack"]
    gate.require(
        evaluate_robustness(
            model, x, y, attacks if isinstance(attacks, Sequence) else [attacks], **settings
        )
    )


def _options(mark: pytest.Mark) -> Mapping[str, Any]:
    unknown = set(mark.kwargs) - {"attack", *_GATE, *_EVALUATION}
    if mark.args or unknown or not {"attack", "min_accuracy"} <= set(mark.kwargs):
        raise UsageError(
            f"expected {_USAGE}, got arguments {mark.args} and options {sorted(mark.kwargs)}"
        )
    return mark.kwargs


def _parts(returned: Any) -> tuple[Any, Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 3:  # noqa: PLR2004 - model, x, y
        raise UsageError(
            f"a test marked {_MARK} returns (model, x, y), got {type(returned).__name__}; "
            "an async test cannot be marked"
        )
    return returned
