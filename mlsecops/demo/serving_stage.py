"""Step 6: serve under watch: normal traffic, drifted inputs, and a client that copies the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.demo.scene import DemoContext
from mlsecops.errors import CallRefused, MLSecOpsError
from mlsecops.findings import Alert
from mlsecops.monitoring import (
    Baseline,
    ExtractionDetector,
    IsolationGuard,
    Monitor,
    MonitorState,
    RateLimit,
    monitored,
)

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.loading import LoadedModel
    from mlsecops.registry import Registry

CALLS: Final = 600
FADED: Final = 0.75
STOLEN_CALLS: Final = 150
CLIENTS: Final = 12
CALIBRATION_CLIENTS: Final = 240
LEAST_LIGHT: Final = 0.6
RATE: Final = 10_000.0
GUARD_REFRESH: Final = 0.5


Light = NDArray[np.float64]


class Unexpected(MLSecOpsError):
    """Monitoring did not behave as the demo says it does."""


class Blocklist:
    """A guard of the user's own: refuses the clients that an operator blocked."""

    def __init__(self) -> None:
        self._blocked: set[str | None] = set()

    def block(self, client: str | None) -> None:
        """Refuse a client from now on."""
        self._blocked.add(client)

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - a Guard is told both
        """Refuse a blocked client.

        Raises:
            CallRefused: The client is blocked.
        """
        if client in self._blocked:
            raise CallRefused(f"client {client!r} is blocked by an operator; ask for access again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model under watch.

    Attributes:
        predict: `(image, client, number) -> probabilities (10,)`.
        monitor: Its monitor.
        alerts: What was raised so far, oldest first.
        snapshots: State of the monitor after each kind of traffic.
        baseline: What counts as normal.
        blocklist: Clients that are refused from now on.
    """

    predict: Callable[[Array, str, int], Array]
    monitor: Monitor
    alerts: list[Alert]
    snapshots: dict[str, MonitorState]
    baseline: Baseline
    blocklist: Blocklist

    def references(self) -> dict[str, float]:
        """Panel → what the baseline has there."""
        known = {"confidence": self.baseline.confidence, "accuracy": self.baseline.accuracy}
        return {panel: value for panel, value in known.items() if value is not None}


def serve_model(scene: DemoContext, registry: Registry, loaded: LoadedModel) -> Served:
    """Serve the loaded model to three kinds of clients.

    Raises:
        Unexpected: Normal traffic raised an alert, drift one of theft, or an attack raised none.
    """
    with scene.step(6, "Monitored serving: normal, drifted, stolen") as tell:
        served = _watch(scene, registry, scene.network.adapter(loaded.model), loaded)
        rng = np.random.default_rng(scene.seed)
        quiet = _phase(served, "normal traffic", _sent(scene, rng))
        tell("normal traffic", f"{CALLS} calls, {_rules(quiet)}")
        _expect(not quiet, f"normal traffic raised {_rules(quiet)}")
        drifted = _phase(served, "drifted inputs", _drifted(scene, rng))
        tell("drifted inputs", f"{CALLS} calls, {_rules(drifted)}")
        _expect(any(alert.rule == "drift" for alert in drifted), "drifted inputs raised no drift")
        _expect(
            not any(alert.rule == "extraction" for alert in drifted),
            "a fading lamp was taken for a thief",
        )
        stolen = _phase(served, "a model thief", _stolen(scene, rng))
        tell("a model thief", f"{STOLEN_CALLS} calls, {_rules(stolen)}")
        _expect(
            any(alert.rule == "extraction" and alert.client == "thief" for alert in stolen),
            "a model thief raised no extraction alert",
        )
        state = served.monitor.snapshot()
        tell("counted", f"{state.calls} calls, {state.dropped} dropped, {state.failures} failures")
    return served


Query = tuple[Any, str, int | None]
"""An image, who sends it, and its true digit if that arrives later."""


def _watch(scene: DemoContext, registry: Registry, adapter: Adapter, loaded: LoadedModel) -> Served:
    normal = scene.digits.normal
    baseline = Baseline.fit(normal.x, adapter.predict(normal.x), normal.y)
    alerts: list[Alert] = []
    blocklist = Blocklist()
    guards = (
        IsolationGuard(loaded.digest, registry, refresh=GUARD_REFRESH),
        blocklist,
        RateLimit(RATE),
    )

    @monitored(
        "digits",
        baseline=baseline,
        client=lambda _image, client, _number: client,
        request_id=lambda _image, _client, number: number,
        guards=guards,
        detectors=[_extraction(scene, baseline, adapter)],
        sinks=[alerts.append],
        digest=loaded.digest,
    )
    def predict(image: Array, client: str, number: int) -> Array:  # noqa: ARG001 - read by the monitor
        answer: Array = adapter.predict(image[None])[0]
        return answer

    return Served(
        predict=predict,
        monitor=predict.monitor,
        alerts=alerts,
        snapshots={},
        baseline=baseline,
        blocklist=blocklist,
    )


def _extraction(scene: DemoContext, baseline: Baseline, adapter: Adapter) -> ExtractionDetector:
    """Calibrated on benign clients of every kind, as many of each.

    From rows that neither the baseline was fitted on, which would find all others strange, nor a
    client below sends.
    """
    rng = np.random.default_rng(scene.seed)
    pool = scene.digits.test
    clients = []
    for lamp, few in itertools.islice(
        itertools.cycle(itertools.product((_steady, _fading, _failing), (False, True))),
        CALIBRATION_CLIENTS,
    ):
        rows = np.arange(len(pool.y))
        if few:
            rows = np.flatnonzero(np.isin(pool.y, rng.choice(10, 3, replace=False)))
        images = pool.x[rng.choice(rows, STOLEN_CALLS)]
        x = _lit(images, lamp(rng, np.arange(STOLEN_CALLS) / STOLEN_CALLS))
        clients.append((x, adapter.predict(x)))
    return ExtractionDetector.calibrate(
        baseline, clients, false_positive_rate=0.01, seed=scene.seed
    )


def _steady(rng: np.random.Generator, time: Light) -> Light:  # noqa: ARG001 - like the others
    """Light of a scanner's lamp over the time in [0, 1) that stays as it is."""
    return np.ones_like(time)


def _fading(rng: np.random.Generator, time: Light) -> Light:
    """Light that gets less and less."""
    return 1 - rng.uniform(0.0, 1 - LEAST_LIGHT) * time


def _failing(rng: np.random.Generator, time: Light) -> Light:
    """Light that is suddenly less."""
    return np.where(time < rng.random(), 1.0, rng.uniform(LEAST_LIGHT, 1.0))


def _lit(images: Array, light: Light) -> Array:
    return images * light.astype(np.float32)[:, None, None, None]


def _phase(served: Served, label: str, queries: Sequence[Query]) -> list[Alert]:
    """Send queries; labels arrive afterwards; gives the alerts that came of it."""
    before = len(served.alerts)
    first = served.monitor.snapshot().calls
    for number, (image, client, _) in enumerate(queries, start=first):
        served.predict(image, client, number)
    served.monitor.flush(timeout=30.0)
    for number, (_, _, digit) in enumerate(queries, start=first):
        if digit is not None:
            served.monitor.record_label(number, digit)
    served.monitor.flush(timeout=30.0)
    served.snapshots[label] = served.monitor.snapshot()
    return served.alerts[before:]


def _sent(scene: DemoContext, rng: np.random.Generator) -> list[Query]:
    """Digits that ordinary clients send, in an order of their own."""
    pool = scene.digits.traffic
    rows = np.resize(rng.permutation(len(pool.y)), CALLS)
    return [(pool.x[row], f"client-{rng.integers(CLIENTS):02d}", int(pool.y[row])) for row in rows]


def _drifted(scene: DemoContext, rng: np.random.Generator) -> list[Query]:
    """The same digits from a scanner whose lamp fades."""
    faded = [(FADED * image, client, digit) for image, client, digit in _sent(scene, rng)]
    return [(image.astype(np.float32), client, digit) for image, client, digit in faded]


def _stolen(scene: DemoContext, rng: np.random.Generator) -> list[Query]:
    """One client asks for labels of uniformly random images, as a thief without data does."""
    shape = (STOLEN_CALLS, *scene.digits.traffic.x.shape[1:])
    images = rng.uniform(0.0, 1.0, shape).astype(np.float32)
    return [(image, "thief", None) for image in images]


def _rules(alerts: Sequence[Alert]) -> str:
    names = dict.fromkeys(alert.rule for alert in alerts)
    return f"alerts: {', '.join(names)}" if names else "no alert"


def _expect(holds: bool, message: str) -> None:  # noqa: FBT001 - an assertion
    if not holds:
        raise Unexpected(f"{message}; please report this with the seed")
