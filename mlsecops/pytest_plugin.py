"""pytest plugin: robustness gates as tests.

    test marked `@pytest.mark.robust` → (model, x, y) → report → gate → pass or fail

The fixture `assert_robust` does the same inside a test. The worst case is a property of the test
(`--junit-xml`).

Example:
    @pytest.mark.robust(attack=PGD(eps=0.1, steps=10), min_accuracy=0.45)
    def test_digits_withstand_pgd(model, x, y):
        return model, x, y

pytest imports this module at every start: numpy is imported when a marked test runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

from mlsecops.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from mlsecops.robustness import RobustnessReport

_MARK: Final = "robust"
_GATE: Final = ("min_accuracy", "min_clean", "per_attack", "earlier", "max_drop")
_EVALUATION: Final = ("seed", "batch_size", "bounds")
_USAGE: Final = "@pytest.mark.robust(attack=PGD(eps=0.1, steps=10), min_accuracy=0.45)"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "robust(attack, min_accuracy, *, min_clean, per_attack, earlier, max_drop, seed, "
        "batch_size, bounds): "
        "evaluate the (model, x, y) that the test returns under one attack, or a sequence of "
        "attacks, and fail unless even the lower 95 % bound of its accuracy reaches the floor",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test and judge its result; leave other tests to pytest."""
    mark = pyfuncitem.get_closest_marker(_MARK)
    if mark is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - as pytest's own caller does it
    returned = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    _hold(pyfuncitem, mark.args, mark.kwargs, lambda: _parts(returned))
    return True


@pytest.fixture
def assert_robust(request: pytest.FixtureRequest) -> Callable[..., RobustnessReport]:
    """Function that evaluates a model, fails the test unless its gate passes, and gives the report.

    Call `assert_robust(model, x, y, attack=PGD(eps=0.1, steps=10), min_accuracy=0.45)`; options are
    those of `@pytest.mark.robust`.
    """

    def hold(model: Any, x: Any, y: Any, /, *arguments: Any, **options: Any) -> RobustnessReport:
        return _hold(request.node, arguments, options, lambda: (model, x, y))

    return hold


def _hold(
    item: pytest.Item,
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    parts: Callable[[], tuple[Any, Any, Any]],
) -> RobustnessReport:
    try:
        return _judge(item, _checked(arguments, options), parts())
    except GateFailed as error:
        said = f"{item.name}: {error}"
    except UsageError as error:
        said = f"{item.name}: cannot be evaluated: {error}"
    pytest.fail(said, pytrace=False)  # outside `except`, so that pytest reports the error once


def _judge(
    item: pytest.Item, options: Mapping[str, Any], parts: tuple[Any, Any, Any]
) -> RobustnessReport:
    from mlsecops.robustness import (  # noqa: PLC0415 - no numpy at pytest's start
        Gate,
        evaluate_robustness,
    )

    gate = Gate(**{name: options[name] for name in _GATE if name in options})
    settings = {name: options[name] for name in _EVALUATION if name in options}
    attacks = options["attack"]
    listed = attacks if isinstance(attacks, Sequence) else [attacks]
    report = evaluate_robustness(*parts, listed, **settings)
    low, high = report.worst.interval
    worst = f"{report.worst.accuracy:.4f} [{low:.4f}, {high:.4f}] of {report.n}"
    item.user_properties.append(("robustness.worst", worst))
    gate.require(report)
    return report


def _checked(arguments: Sequence[Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = set(options) - {"attack", *_GATE, *_EVALUATION}
    if arguments or unknown or not {"attack", "min_accuracy"} <= set(options):
        raise UsageError(
            f"expected {_USAGE}, got arguments {tuple(arguments)} and options {sorted(options)}"
        )
    return options


def _parts(returned: Any) -> tuple[Any, Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 3:  # noqa: PLR2004 - model, x, y
        raise UsageError(
            f"a test marked {_MARK} returns (model, x, y), got {type(returned).__name__}; "
            "an async test cannot be marked"
        )
    return returned
