"""Step 6: monitored serving of normal traffic, drifted inputs and a model thief."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from mlsecops.adapters import adapt
from mlsecops.demo.context import DemoContext
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

CALLS: Final = 600  # calls; chosen: twice the rows of the traffic data
FADED: Final = 0.75  # share of the light; chosen: enough drift for an alert
STOLEN_CALLS: Final = 150  # calls; chosen: enough for the extraction detector
CLIENTS: Final = 12  # clients; chosen
CALIBRATION_CLIENTS: Final = 240  # clients; chosen: 40 of each of six kinds
LEAST_LIGHT: Final = 0.6  # share of the light; chosen: below `FADED`: fading lamps are benign
RATE: Final = 10_000.0  # calls a second; chosen: never reached in the demo
GUARD_REFRESH: Final = 0.5  # seconds; chosen: a short wait after the isolation


Light = NDArray[np.float64]


class Unexpected(MLSecOpsError):
    """Monitoring behaved differently from the demo's description."""


class Blocklist:
    """Example of a user-defined guard: it refuses clients that an operator blocked."""

    def __init__(self) -> None:
        self._blocked: set[str | None] = set()

    def block(self, client: str | None) -> None:
        """Refuse a client from now on."""
        self._blocked.add(client)

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - the protocol of guards
        """Refuse a blocked client."""
        if client in self._blocked:
            raise CallRefused(f"client {client!r} is blocked by an operator; ask for access again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A monitored model, with the state of its monitor after each kind of traffic."""

    predict: Callable[[Array, str, int], Array]
    monitor: Monitor
    alerts: list[Alert]
    snapshots: dict[str, MonitorState]
    baseline: Baseline
    blocklist: Blocklist

    def references(self) -> dict[str, float]:
        """Panel → value of the baseline."""
        known = {"confidence": self.baseline.confidence, "accuracy": self.baseline.accuracy}
        return {panel: value for panel, value in known.items() if value is not None}


def serve_model(context: DemoContext, registry: Registry, loaded: LoadedModel) -> Served:
    """Serve the loaded model to three kinds of clients; unexpected alerts are `Unexpected`."""
    with context.step(6, "Monitored serving: normal, drifted, stolen") as fact:
        served = _watch(context, registry, adapt(loaded.model), loaded)
        rng = np.random.default_rng(context.seed)
        quiet = _phase(served, "normal traffic", _sent(context, rng))
        fact("normal traffic", f"{CALLS} calls, {_rules(quiet)}")
        _expect(not quiet, f"normal traffic raised {_rules(quiet)}")
        drifted = _phase(served, "drifted inputs", _drifted(context, rng))
        fact("drifted inputs", f"{CALLS} calls, {_rules(drifted)}")
        _expect(any(alert.rule == "drift" for alert in drifted), "drifted inputs raised no drift")
        alarmed = any(alert.rule == "extraction" for alert in drifted)
        _expect(not alarmed, "drifted inputs raised an extraction alert")
        stolen = _phase(served, "a model thief", _stolen(context, rng))
        fact("a model thief", f"{STOLEN_CALLS} calls, {_rules(stolen)}")
        caught = any(alert.rule == "extraction" and alert.client == "thief" for alert in stolen)
        _expect(caught, "a model thief raised no extraction alert")
        state = served.monitor.snapshot()
        fact("calls", f"{state.calls} calls, {state.dropped} dropped, {state.failures} failures")
    return served


Query = tuple[Any, str, int | None]
"""Image, client, and true digit if it arrives later."""


def _watch(
    context: DemoContext, registry: Registry, adapter: Adapter, loaded: LoadedModel
) -> Served:
    normal = context.digits.normal
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
        detectors=[_extraction(context, baseline, adapter)],
        sinks=[alerts.append],
        digest=loaded.digest,
    )
    def predict(image: Array, client: str, number: int) -> Array:  # noqa: ARG001 - read by the monitor
        return cast("Array", adapter.predict(image[None])[0])

    return Served(
        predict=predict,
        monitor=predict.monitor,
        alerts=alerts,
        snapshots={},
        baseline=baseline,
        blocklist=blocklist,
    )


def _extraction(context: DemoContext, baseline: Baseline, adapter: Adapter) -> ExtractionDetector:
    """Detector calibrated on benign clients of each kind, whose rows nothing else here uses."""
    rng = np.random.default_rng(context.seed)
    pool = context.digits.test
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
        baseline, clients, false_positive_rate=0.01, seed=context.seed
    )


def _steady(rng: np.random.Generator, time: Light) -> Light:  # noqa: ARG001 - the signature of all lamps
    return np.ones_like(time)


def _fading(rng: np.random.Generator, time: Light) -> Light:
    return 1 - rng.uniform(0.0, 1 - LEAST_LIGHT) * time


def _failing(rng: np.random.Generator, time: Light) -> Light:
    return np.where(time < rng.random(), 1.0, rng.uniform(LEAST_LIGHT, 1.0))


def _lit(images: Array, light: Light) -> Array:
    return images * light.astype(np.float32)[:, None, None, None]


def _phase(served: Served, label: str, queries: Sequence[Query]) -> list[Alert]:
    """Send queries, then their labels; return the new alerts."""
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
    return [alert for alert in served.alerts[before:] if alert.state == "firing"]


def _sent(context: DemoContext, rng: np.random.Generator) -> list[Query]:
    pool = context.digits.traffic
    rows = np.resize(rng.permutation(len(pool.y)), CALLS)
    return [(pool.x[row], f"client-{rng.integers(CLIENTS):02d}", int(pool.y[row])) for row in rows]


def _drifted(context: DemoContext, rng: np.random.Generator) -> list[Query]:
    faded = [(FADED * image, client, digit) for image, client, digit in _sent(context, rng)]
    return [(image.astype(np.float32), client, digit) for image, client, digit in faded]


def _stolen(context: DemoContext, rng: np.random.Generator) -> list[Query]:
    shape = (STOLEN_CALLS, *context.digits.traffic.x.shape[1:])
    images = rng.uniform(0.0, 1.0, shape).astype(np.float32)
    return [(image, "thief", None) for image in images]


def _rules(alerts: Sequence[Alert]) -> str:
    names = dict.fromkeys(alert.rule for alert in alerts)
    return f"alerts: {', '.join(names)}" if names else "no alert"


def _expect(holds: bool, message: str) -> None:  # noqa: FBT001 - an assertion
    if not holds:
        raise Unexpected(f"{message}; please report this with the seed")
