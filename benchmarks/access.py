"""Access decisions: time of one, of hostile names and policies, and of auditing.

    python -m benchmarks access

policies of 100 rules → median and 99th percentile; names and patterns of 4 KB → slowest; decisions
with a `DecisionLog` in a local folder → a second
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlsecops.access import AccessPolicy, CedarPolicy, DecisionLog, Rule, requires
from mlsecops.errors import UsageError
from mlsecops.signing import Signer

_RUNS = 3000
_LENGTH = 4096  # characters of hostile names and patterns; issue 18
SCHEMA = """
entity User;
entity Resource in [Resource];
action "dataset:read" appliesTo { principal: User, resource: Resource };
"""


def main() -> None:
    """Print the figures."""
    rules = [
        Rule(subject=f"team-{n}/*", action="dataset:read", resource=f"lake/{n}/**")
        for n in range(99)
    ]
    deny = Rule(subject="*", action="*", resource="secret/**", effect="deny")
    own = AccessPolicy([*rules, deny])
    cedar = CedarPolicy(
        "".join(
            f'permit(principal == User::"team-{n}/ann", action == Action::"dataset:read", '
            f'resource in Resource::"lake/{n}");\n'
            for n in range(100)
        ),
        schema=SCHEMA,
    )
    for name, policy in (("own", own), ("Cedar", cedar)):
        if not policy.decide("team-50/ann", "dataset:read", "lake/50/a/b").allowed:
            raise SystemExit(f"{name}: expected the decision to be allowed")
        median, high = timed(
            lambda p=policy: p.decide("team-50/ann", "dataset:read", "lake/50/a/b")
        )
        print(
            f"{name}: one decision at 100 rules: p50 {median * 1e6:.0f} µs, p99 {high * 1e6:.0f} µs"
        )
    print(f"slowest of hostile patterns and names of 4 KB: {hostile(cedar) * 1e3:.1f} ms")
    print(f"audited decisions, durable: {audited(own):.0f} a second")


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile of a call, in seconds."""
    taken = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    taken.sort()
    return taken[_RUNS // 2], taken[_RUNS * 99 // 100]


def hostile(cedar: CedarPolicy) -> float:
    """Slowest decision about patterns and names of 4 KB, best of three, in seconds."""
    pieces = ("*/", "**/a/", "**/a*/", "a*/", "*a", "**/*/", "a/", "*a*b/", "**/a/a/*b/")
    names = ("a/", "a", "ab/", "é/", "a/a/b/")
    slowest = 0.0
    for piece in pieces:
        for end in ("b", "**", "**/b"):
            pattern = f"{(piece * _LENGTH)[: _LENGTH - 8].rsplit('/', 1)[0]}/{end}"
            try:
                policy = AccessPolicy([Rule(subject="*", action="*", resource=pattern)])
            except UsageError:
                continue
            several = AccessPolicy(
                Rule(subject="*", action="*", resource=f"{piece * 8}{n}") for n in range(100)
            )
            for name in names:
                asked = (name * _LENGTH)[:_LENGTH]
                for each in (policy, several, cedar):
                    took = min(_once(each, asked) for _ in range(3))
                    slowest = max(slowest, took)
    return slowest


def _once(policy: AccessPolicy | CedarPolicy, name: str) -> float:
    began = time.perf_counter()
    policy.decide("ann", "dataset:read", name)
    return time.perf_counter() - began


def audited(policy: AccessPolicy) -> float:
    """Decisions a second that are durable at the end."""
    with tempfile.TemporaryDirectory() as place:
        log = DecisionLog(Path(place) / "log", signer=Signer.generate("ed25519"))

        @requires(
            "dataset:read", resource="lake/50/a", policy=policy, subject="team-50/ann", audit=log
        )
        def read() -> None:
            return None

        began = time.perf_counter()
        for _ in range(_RUNS):
            read()
        log.flush()
        taken = time.perf_counter() - began
        log.close()
    return _RUNS / taken


if __name__ == "__main__":
    main()
