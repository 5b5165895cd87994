"""Operation on a registry that is begun as often as wanted, with a fault each time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops.errors import MLSecOpsWarning, RegistryError
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.registry.stores import Fault, Killed, counted, objects, put_back

NEW: Final = Signer.generate("ed25519")
OPERATIONS: Final[dict[str, Callable[[Registry, Path], object]]] = {
    "publish": lambda registry, folder: registry.publish("fraud", folder),
    "promote": lambda registry, _: registry.promote("fraud", 1, "serving"),
    "quarantine": lambda registry, _: registry.quarantine("fraud", "poisoned"),
    "rollback": lambda registry, _: registry.rollback("fraud", serving=2),
    "rotate-key": lambda registry, _: registry.rotate_key(NEW),
    "raise-floor": lambda registry, _: registry.raise_floor("fraud", 2),
    "sign-again": lambda registry, folder: registry.replace_signature(
        "fraud", 1, folder.with_name("again")
    ),
    "incident": lambda registry, _: registry.record_once("incident.opened", {"incident": "i"}),
}


class Killing:
    """A registry in which version 2 of two serves, and an operation on it.

    Args:
        location: An empty location.
        name: Key of `OPERATIONS`.
        signer: Signs models and log.
        model: Makes a signed folder around some weights.
    """

    def __init__(
        self, location: str, name: str, signer: Signer, model: Callable[[bytes], Path]
    ) -> None:
        self.location = location
        self.name = name
        self.signer = signer
        self.policy = TrustPolicy(keys=[signer.public_key, NEW.public_key])
        one, two, self.folder, self.later = map(model, (b"one", b"two", b"three", b"later"))
        registry = self.opened(signer)
        for folder in (one, two):
            registry.publish("fraud", folder)
        registry.promote("fraud", 2, "serving")
        again = registry.checkout("fraud", 1, self.folder.with_name("again"))
        sign(again, NEW, replace=True)
        self.template = objects(location)
        self.old = self.seen()
        self.operate()
        self.new = self.seen()

    def opened(self, signer: Signer | None = None) -> Registry:
        """The registry, as a fresh process opens it."""
        return Registry(self.location, signer=signer, policy=self.policy)

    def operate(self) -> None:
        """The operation in a fresh process."""
        OPERATIONS[self.name](self.opened(self.signer), self.folder)

    def each_request(self, step: int = 1, *, fault: Fault = "killed") -> Iterator[int]:
        """Begin anew with a fault at each request, or at each `step`-th."""
        for number in itertools.count(0, step):
            put_back(self.location, self.template)
            if run_until(number, self.operate, fault=fault):
                return
            yield number

    def seen(self) -> dict[str, Any]:
        """What a fresh reader sees; every entry and tile of the log is verified."""
        reader = self.opened()
        return {
            "size": reader.verify_log().size,
            "versions": [
                f"{each.version} {each.digest} {each.state} {reader.serves(each)}"
                for each in reader.versions("fraud")
            ],
            "isolated": dict(reader.isolations()),
            "floor": reader.floor("fraud"),
            "signers": reader.claim("fraud", 1).signers,
            "keys": reader.log_vkeys(),
            "incidents": len(reader.recorded("incident.")),
        }

    def require_old_or_new(self) -> None:
        """Nothing is half-done.

        A quarantine is two events, so that it does not wait until all files are read: the digest,
        then those of the same files under other algorithms.
        """
        seen = self.seen()
        if self.name == "quarantine" and seen["size"] == self.old["size"] + 1:
            assert len(seen["isolated"]) == 1
        else:
            assert seen in (self.old, self.new)

    def require_repeatable(self) -> None:
        """The call ends as if nothing had happened, and what was left over is in nobody's way."""
        self.operate()
        assert self.seen() == self.new
        writer = self.opened(NEW if self.name == "rotate-key" else self.signer)
        assert writer.publish("risk", self.later).version == 1
        assert writer.resolve("risk", 1).path is not None


def run_until(limit: int, operation: Callable[[], object], *, fault: Fault = "killed") -> bool:
    """Whether an operation ended with fewer requests than the one at which the fault is."""
    with warnings.catch_warnings(), counted(limit, fault) as opened:
        warnings.simplefilter("ignore", MLSecOpsWarning)  # of a quarantine without all digests
        try:
            operation()
        except Killed:
            return False
        except RegistryError:
            if fault != "lost":
                raise
    return all(len(each.requests) <= limit for each in opened)
