"""Incidents: drill of each kind, and runs killed at every write and resumed.

    python -m benchmarks incidents

registry with three models → drill of six kinds → seconds; playbook of each kind, killed before each
of its writes and run again → end states
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlsecops.incident import Incident, Playbook, run_drill, sign_again
from mlsecops.incident.guidance import KINDS, Kind
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign

_WRITES = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.chmod", "os.rmdir"})
_KEYS = {name: Signer.generate("ed25519") for name in ("leaked", "good", "new", "operator")}
_POLICY = TrustPolicy(keys=[_KEYS[name].public_key for name in ("leaked", "good", "new")])


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        template = _published(Path(place))
        for drill in run_drill(_opened(template, signed=False), signer=_KEYS["operator"]):
            print(
                f"drill {drill.kind}: {drill.state} after {drill.seconds:.2f} s; other models: "
                f"{drill.others} resolutions, {drill.others_refused} refused"
            )
        for kind in KINDS:
            print(f"killed {kind}: {_killed(kind, template)}")


def _published(place: Path) -> Path:
    registry = _opened(place / "template", signed=True)
    for number, (name, key) in enumerate(
        (("fraud", "good"), ("fraud", "leaked"), ("risk", "leaked"), ("churn", "good"))
    ):
        folder = place / str(number) / name
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(bytes([number]) * 100_000)
        sign(folder, _KEYS[key])
        registry.promote(name, registry.publish(name, folder).version, "serving")
    return place / "template"


def _opened(place: Path, *, signed: bool) -> Registry:
    operator = _KEYS["operator"]
    return Registry(
        place, signer=operator if signed else None, policy=_POLICY, log_keys=[operator.public_key]
    )


def _handle(kind: Kind, place: Path) -> dict[str, Any]:
    registry = _opened(place, signed=True)
    about = registry.versions("fraud")[1].digest
    if kind == "leaked-key":
        about = Digest.parse(f"sha256:{_KEYS['leaked'].public_key.fingerprint}")
    incident = Incident.report(kind, digest=about, message="benchmark", registry=registry)
    playbook = Playbook.default(
        remediate=sign_again(_KEYS["new"]) if kind == "leaked-key" else lambda _: None,
        validate=lambda _, version: version is not None,
    )
    playbook.run(incident, approve=lambda _: True)
    incident.evidence.verify()
    return {
        "state": incident.state,
        "steps": [(step.name, step.state) for step in incident.steps],
        "serving": [
            registry.resolve(each, "serving").version for each in ("fraud", "risk", "churn")
        ],
        "isolated": sorted(registry.isolations()),
        "events": [event["type"] for event in incident.events()],
    }


def _killed(kind: Kind, template: Path) -> str:
    place = template.with_name("killed")

    def fresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)

    fresh()
    expected, number, wrong = _handle(kind, place), 0, 0
    began = time.monotonic()
    while True:
        number += 1
        fresh()
        if not _dies(number, lambda: _handle(kind, place)):
            break
        churn = _opened(place, signed=False).resolve("churn", "serving").version
        wrong += churn != 1 or _handle(kind, place) != expected
    return (
        f"before each of {number - 1} writes: {wrong} other end states "
        f"({time.monotonic() - began:.0f} s)"
    )


def _dies(number: int, action: Callable[[], object]) -> bool:
    """Whether an action in a process of its own died before its n-th write."""
    child = os.fork()
    if child == 0:
        left = number

        def watch(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event in _WRITES
            if event == "open" and isinstance(args[2], int):
                writes = bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes:
                left -= 1
                if left == 0:
                    os._exit(7)

        sys.addaudithook(watch)
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


if __name__ == "__main__":
    main()
