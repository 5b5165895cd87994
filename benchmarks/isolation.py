"""Isolation across processes: delay until a quarantine is heeded, and what watching costs.

    python -m benchmarks isolation

registry in a bucket of moto's S3 server, 20 processes with an `IsolationGuard`, quarantines by
another → delays; 1,000 watchers of one registry → requests and processor time a second
"""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlsecops.errors import ModelIsolated
from mlsecops.monitoring import IsolationGuard
from mlsecops.provenance import Digest
from mlsecops.provenance.isolation import IsolationWatch
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy

_PROCESSES, _ROUNDS = 20, 10
_WATCHERS, _SECONDS = 1000, 5.0
_PAUSE = 0.02  # seconds between two calls of a served model
_FORK = multiprocessing.get_context("fork")
_SERVER = """
from moto.server import ThreadedMotoServer
import sys
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def main() -> None:
    """Print the figures."""
    with bucket() as options:
        signer = Signer.generate("ed25519")
        policy = TrustPolicy(keys=[signer.public_key])
        delays = sorted(_fleet(signer, policy, options))
        print(
            f"{_PROCESSES} processes, {len(delays)} quarantines heeded: p50 "
            f"{delays[len(delays) // 2]:.2f} s, p99 {delays[len(delays) * 99 // 100]:.2f} s, "
            f"slowest {delays[-1]:.2f} s"
        )
        share = _in_child(_one_process, policy, options)
        print(f"one process that watches the bucket: {share * 100:.2f} % of a core")
    requests, share = _in_child(_many_watchers)
    print(
        f"{_WATCHERS} watchers, asked twice a second: {requests:.0f} reads a second in all, "
        f"{share * 100:.3f} % of a core each (store in memory)"
    )


@contextmanager
def bucket() -> Iterator[dict[str, Any]]:
    """An S3 server in a process of its own, with a bucket."""
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        port = server.stdout.readline().strip() if server.stdout else ""
        options = {
            "endpoint": f"http://127.0.0.1:{port}", "access_key_id": "test",
            "secret_access_key": "test", "region": "us-east-1",
            "client_options": {"allow_http": True},
        }  # fmt: skip
        try:
            _in_child(_create, options)
            yield options
        finally:
            server.terminate()


def _create(options: dict[str, Any]) -> None:
    import boto3  # noqa: PLC0415 - in the child alone

    boto3.client(
        "s3", endpoint_url=options["endpoint"], region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",  # noqa: S106 - of the test server
    ).create_bucket(Bucket="models")  # fmt: skip


def _fleet(signer: Signer, policy: TrustPolicy, options: dict[str, Any]) -> list[float]:
    """Delays from the end of a quarantine to its first refusal, of every process and round."""
    digests = [Digest.of(f"model {n}".encode()) for n in range(_ROUNDS)]
    _in_child(_open, signer, policy, options)
    ready, seen = _FORK.Barrier(_PROCESSES + 1), _FORK.SimpleQueue()
    children = [
        _FORK.Process(target=_serve, args=(policy, options, digests, ready, seen))
        for _ in range(_PROCESSES)
    ]
    for child in children:
        child.start()
    done = _in_child(_quarantine_all, signer, policy, options, digests, ready)
    found = [seen.get() for _ in range(_PROCESSES * _ROUNDS)]
    for child in children:
        child.join()
    return [at - done[number] for number, at in found]


def _open(signer: Signer, policy: TrustPolicy, options: dict[str, Any]) -> None:
    Registry("s3://models/fleet", signer=signer, policy=policy, storage_options=options)


def _quarantine_all(
    signer: Signer, policy: TrustPolicy, options: dict[str, Any], digests: list[Digest], ready: Any
) -> list[float]:
    registry = Registry("s3://models/fleet", signer=signer, policy=policy, storage_options=options)
    ready.wait()
    done = []
    for digest in digests:
        time.sleep(1.5 + random.random())  # noqa: S311 - at another phase of the watchers
        registry.quarantine(digest, "benchmark")
        done.append(time.time())
    return done


def _serve(
    policy: TrustPolicy, options: dict[str, Any], digests: list[Digest], ready: Any, seen: Any
) -> None:
    """A process that serves models, and says when it refuses each."""
    registry = Registry("s3://models/fleet", policy=policy, storage_options=options)
    guards = {number: IsolationGuard(digest, registry) for number, digest in enumerate(digests)}
    ready.wait()
    while guards:
        for number, guard in list(guards.items()):
            try:
                guard.check(None, None)
            except ModelIsolated:
                seen.put((number, time.time()))
                del guards[number]
        time.sleep(_PAUSE)


def _one_process(policy: TrustPolicy, options: dict[str, Any]) -> float:
    registry = Registry("s3://models/fleet", policy=policy, storage_options=options)
    watch, digest = IsolationWatch(registry), Digest.of(b"another model")
    watch.isolated(digest)
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < _SECONDS:
        time.sleep(0.5)
        watch.isolated(digest)
    return (time.process_time() - used) / _SECONDS


def _many_watchers() -> tuple[float, float]:
    from mlsecops.audit.objects import MemoryStore  # noqa: PLC0415 - counted in the child alone

    signer = Signer.generate("ed25519")
    policy = TrustPolicy(keys=[signer.public_key])
    Registry("memory://many", signer=signer, policy=policy)
    watches = [IsolationWatch(Registry("memory://many", policy=policy)) for _ in range(_WATCHERS)]
    digest = Digest.of(b"a model")
    for watch in watches:
        watch.isolated(digest)
    reads = [0]

    original = MemoryStore.get

    def counted(*args: Any, **options: Any) -> Any:
        reads[0] += 1  # conditional ones too, which call it
        return original(*args, **options)

    MemoryStore.get = counted  # type: ignore[method-assign] # in this child alone
    time.sleep(1.0)
    for watch in watches:  # the answers are of this moment
        watch.isolated(digest)
    reads[0] = 0
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < _SECONDS:
        rest = time.monotonic()
        for watch in watches:
            watch.isolated(digest)
        time.sleep(max(0.0, 0.5 - (time.monotonic() - rest)))
    taken = time.monotonic() - began
    return reads[0] / taken, (time.process_time() - used) / taken / _WATCHERS


def _in_child(call: Any, *args: Any) -> Any:
    """Result of a call in a process of its own: a store's threads do not outlive a fork."""
    answer = _FORK.SimpleQueue()
    child = _FORK.Process(target=lambda: answer.put(call(*args)))
    child.start()
    result = answer.get()
    child.join()
    return result


if __name__ == "__main__":
    main()
