"""Types of the public names as a checker sees them; mypy reads this file, nobody runs it.

Lines with an ignore are errors on purpose: with --strict an ignore that nothing needs is one too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import mlsecops
from mlsecops import (
    PGD,
    Digest,
    Gate,
    Manifest,
    Registry,
    SecureLoader,
    Signer,
    TrustPolicy,
    Verdict,
    Verified,
    evaluate_robustness,
    fuzz,
    hash_path,
    monitored,
    scan,
    sign,
    suite,
    verify,
)
from mlsecops.llm import Campaign, ChatEndpoint, FuzzGate, FuzzJudgement
from mlsecops.loading import LoadedModel
from mlsecops.monitoring import Monitor, MonitoredCall, MonitorState
from mlsecops.registry import Version
from mlsecops.robustness import Attack, Judgement, RobustnessReport
from mlsecops.signing import Bundle, PublicKey

Floats = NDArray[np.float64]


@monitored("plain")
def predict(x: Floats, *, top: int = 1) -> Floats:
    return x[:top]


@monitored("async")
async def answer(x: Floats) -> Floats:
    return x


@monitored("stream")
def stream(text: str) -> Iterator[str]:
    yield text


@monitored("async stream")
async def tokens(text: str) -> AsyncGenerator[str, None]:
    yield text


class Service:
    @monitored("method")
    def predict(self, x: Floats) -> Floats:
        return x

    @staticmethod
    @monitored("static")
    def fixed(x: Floats) -> Floats:
        return x

    @classmethod
    @monitored("class")
    def named(cls, x: Floats) -> Floats:
        return x


def monitored_keeps_the_signature(x: Floats) -> None:
    assert_type(predict(x), Floats)
    assert_type(predict(x, top=3), Floats)
    assert_type(stream("a"), Iterator[str])
    assert_type(tokens("a"), AsyncGenerator[str, None])
    assert_type(Service().predict(x), Floats)
    assert_type(Service.fixed(x), Floats)
    assert_type(Service.named(x), Floats)
    assert_type(predict.monitor, Monitor)
    assert_type(predict.monitor.snapshot(), MonitorState)
    predict("text")  # type: ignore[arg-type]
    predict(x, bottom=3)  # type: ignore[call-arg]
    predict(x, 3)  # type: ignore[call-arg]
    Service().predict("text")  # type: ignore[arg-type]
    Service.fixed("text")  # type: ignore[arg-type]
    with monitored("context").call(x, client="c") as call:
        assert_type(call, MonitoredCall)


async def monitored_keeps_a_coroutine(x: Floats) -> None:
    assert_type(await answer(x), Floats)


def verify_returns_verified(path: str) -> None:
    signer = Signer.generate("p256")
    assert_type(sign(path, signer), Bundle)
    assert_type(signer.public_key, PublicKey)
    policy = TrustPolicy(keys=[signer.public_key])
    verified = verify(path, policy=policy)
    assert_type(verified, Verified)
    assert_type(verified.digest, Digest)
    assert_type(verified.manifest, Manifest)
    assert_type(verified.signers, tuple[str, ...])
    verify(path)  # type: ignore[call-arg]
    verify(path, policy="trust.toml")  # type: ignore[arg-type]
    verified.digest = None  # type: ignore[assignment,misc]


def manifests_and_verdicts(path: str) -> None:
    assert_type(hash_path(path), Manifest)
    assert_type(hash_path(path).root, Digest)
    assert_type(scan(path), Verdict)
    assert_type(scan(path).refused, bool)
    hash_path(path, "sha512")  # type: ignore[call-arg]


def a_loader_gives_a_loaded_model(path: str, policy: TrustPolicy) -> None:
    loaded = SecureLoader(policy).load(path)
    assert_type(loaded, LoadedModel)
    assert_type(loaded.verified, Verified)
    SecureLoader(policy, tier="unsealed")  # type: ignore[arg-type]
    SecureLoader()  # type: ignore[call-arg]


def attacks_are_attacks(model: Any, x: Floats, y: NDArray[np.int64]) -> None:
    attacks: list[Attack] = suite("quick", eps=0.1)
    report = evaluate_robustness(model, x, y, [*attacks, PGD(0.1, steps=3)])
    assert_type(report, RobustnessReport)
    assert_type(Gate(min_accuracy=0.7).judge(report), Judgement)
    Gate(0.7)  # type: ignore[call-arg]
    suite("weekly", eps=0.1)  # type: ignore[arg-type]


def a_campaign_is_judged(endpoint: ChatEndpoint) -> None:
    campaign = fuzz(endpoint, seed=1)
    assert_type(campaign, Campaign)
    assert_type(FuzzGate().judge(campaign), FuzzJudgement)
    assert_type(fuzz(str), Campaign)
    fuzz(endpoint, 1)  # type: ignore[call-arg]
    fuzz("http://127.0.0.1/")  # type: ignore[arg-type]


def a_registry_gives_versions(registry: Registry) -> None:
    assert_type(registry.resolve("digits", "serving"), Version)
    registry.resolve("digits", "newest")  # type: ignore[arg-type]
    registry.promote("digits", 1, "everywhere")  # type: ignore[arg-type]


def unknown_names_are_errors() -> None:
    print(mlsecops.frobnicate)  # type: ignore[attr-defined]  # noqa: T201 - read, never run
