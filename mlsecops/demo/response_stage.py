"""Step 7: incident response, from the alert to the rollback."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from mlsecops.adapters import adapt
from mlsecops.demo.context import DemoContext, refusal
from mlsecops.demo.release_stage import NAME
from mlsecops.demo.second_server import SecondServer
from mlsecops.demo.serving_stage import GUARD_REFRESH, Served, Unexpected
from mlsecops.demo.training_stage import ATTACKS, GATE
from mlsecops.errors import ModelIsolated
from mlsecops.findings import Alert
from mlsecops.incident import Incident, Playbook, kind_of
from mlsecops.loading import LoadedModel, SecureLoader
from mlsecops.registry import Registry, Version
from mlsecops.robustness import RobustnessReport, evaluate_robustness

IDLE: Final = 2 * GUARD_REFRESH  # seconds; after this the guard has asked the registry again


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Result of the incident response."""

    incident: Incident
    playbook: Playbook
    loaded: LoadedModel


def respond(context: DemoContext, registry: Registry, served: Served, framework: str) -> Response:
    """Open an incident from the extraction alert and run its playbook to the end."""
    with context.step(7, "Incident: isolate, evidence, roll back, validate") as fact:
        alert = next(raised for raised in served.alerts if raised.client == "thief")
        key = context.out / "signing" / "release.pub.pem"
        images = context.out / "data" / "traffic.npz"
        with SecondServer(registry, key, framework, images) as second:
            fact("second server", _ask(second, refused=False))
            incident, playbook = _handle(context, registry, served, alert)
            fact("incident", f"{incident.id[:12]} from '{alert.rule}' of client {alert.client}")
            for step in incident.steps:
                fact(f"  {step.name}", step.state)
            fact("second server", _ask(second, refused=True))
        fact("first server", _refusal(context, served))
        incident.evidence.verify(policy=context.policy)
        fact("evidence", f"{incident.evidence.path.name}, signature verified")
        serving = registry.resolve(NAME, "serving")
        loaded = _load(context, registry, serving)
        fact("serving now", _serve_again(context, loaded, serving))
    return Response(incident=incident, playbook=playbook, loaded=loaded)


def _handle(
    context: DemoContext, registry: Registry, served: Served, alert: Alert
) -> tuple[Incident, Playbook]:
    def block_client(_incident: Incident) -> bool:
        served.blocklist.block(alert.client)
        return True

    def pass_gate(_incident: Incident, version: Version | None) -> object:
        return version is not None and GATE.judge(_measure(context, registry, version))

    playbook = Playbook.default(
        kind_of(alert.to_dict()), remediate=block_client, validate=pass_gate
    )
    incident = Incident.open(alert, registry=registry, snapshot=served.monitor.snapshot())
    playbook.run(incident, approve=lambda _step: True)
    if incident.state != "closed":
        raise Unexpected(f"the incident ended {incident.state!r}, expected 'closed'")
    return incident, playbook


def _load(context: DemoContext, registry: Registry, version: Version) -> LoadedModel:
    resolved = registry.resolve(version.name, version.version)
    if resolved.path is None:
        raise Unexpected(f"version {version.version} has no folder")
    loaded = context.network.load(SecureLoader(context.policy, isolation=registry), resolved.path)
    if loaded.digest != version.digest:
        raise Unexpected(f"version {version.version} is {version.digest}, got {loaded.digest}")
    return loaded


def _measure(context: DemoContext, registry: Registry, version: Version) -> RobustnessReport:
    model, test = _load(context, registry, version).model, context.digits.test
    return evaluate_robustness(model, test.x, test.y, ATTACKS, seed=context.seed)


def _ask(second: SecondServer, *, refused: bool) -> str:
    answer = second.ask()
    if answer.startswith("refused") != refused:
        raise Unexpected(f"the second server answered {answer!r}")
    return answer[:96]


def _refusal(context: DemoContext, served: Served) -> str:
    image = context.digits.traffic.x[0]
    time.sleep(IDLE)
    error = refusal("an isolated model", lambda: served.predict(image, "client-00", -1))
    if not isinstance(error, ModelIsolated):
        raise error
    return context.brief(error)


def _serve_again(context: DemoContext, loaded: LoadedModel, serving: Version) -> str:
    traffic = context.digits.traffic
    answers = adapt(loaded.model).predict(traffic.x).argmax(axis=1)
    right = float((answers == traffic.y).mean())
    return f"version {serving.version}, verified again, {right:.1%} right on {len(answers)} images"
