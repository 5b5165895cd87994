"""Registry at the size of a fleet: opening, resolving, appending, proofs, and a race of publishers.

A log of 100,000 entries about 10,000 versions is written in batches by the library's own log, then
a registry is opened on it, in a folder and on moto's S3 server (a Python server in this process:
its times are its own, the number of requests is the library's). The proofs are of a log of a
million entries. The publishers are processes with a registry each. Times are medians of the
repetitions. Then each operation is stopped before each of its requests, and called again.

Run: python -m benchmarks.registry [--entries 100000] [--versions 10000] [--leaves 1000000]
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlsecops import Registry, Signer, TrustPolicy, sign
from mlsecops.audit.objects import ObjectStore, open_store
from mlsecops.audit.tlog import TileLog
from mlsecops.provenance import Digest
from mlsecops.provenance.merkle import leaf_hash
from tests.buckets import s3_bucket
from tests.registry.killing import OPERATIONS, Killing
from tests.registry.stores import counted

BATCH = 4_000  # entries in one checkpoint
REPEATED = 30  # repetitions of each measurement
MODELS = 10  # models among which the versions are divided
PUBLISHERS = 8  # processes
EACH = 20  # versions of each publisher
PARTS = ("folder", "s3", "proofs", "race", "kills")


def median_ms(call: Callable[[], object], repeated: int = REPEATED) -> float:
    """Median milliseconds of a call."""
    taken = []
    for _ in range(repeated):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e3


def entries_about(first: Registry, versions: int, entries: int) -> Iterator[bytes]:
    """Entries after those that the registry has: versions, approvals and quarantines."""
    listing = first.history("served")[0].detail["listing"]
    at = {"at": "2026-12-01T00:00:00+00:00"}
    for number in range(versions):
        name = f"model-{number % MODELS}"
        named = {"name": name, "version": number // MODELS + 1}
        digest = str(Digest.of(b"%d" % number))
        detail = {"listing": listing, "signers": ["0" * 64], "signed_name": name}
        yield encoded({**at, "type": "published", "digest": digest, **named, **detail})
    for number in range(entries - versions):
        turn = number % versions
        named = {"name": f"model-{turn % MODELS}", "version": turn // MODELS + 1}
        digest = str(Digest.of(b"%d" % turn))
        kind = "approved" if number % 100 else "quarantined"
        detail = {"reason": "a benchmark"} if kind == "quarantined" else {}
        yield encoded({**at, "type": kind, "digest": digest, **detail, **named})


def encoded(event: dict[str, object]) -> bytes:
    """Canonical JSON."""
    return json.dumps(event, sort_keys=True, separators=(",", ":")).encode()


def fill(store: ObjectStore, signer: Signer, bodies: Iterator[bytes]) -> None:
    """Append entries in batches."""
    log = TileLog(store, prefix="log/", head="head", signer=signer)
    size, batch = log.newest().size, []
    for body in bodies:
        batch.append(body)
        if len(batch) == BATCH:
            log.append(batch, size=size)
            size, batch = size + len(batch), []
    if batch:
        log.append(batch, size=size)


def model(folder: Path, signer: Signer, content: bytes) -> Path:
    """A signed folder of one file."""
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(content)
    sign(folder, signer)
    return folder


def synced_write_ms(folder: Path) -> float:
    """Median milliseconds that the disk takes for a synced write of 4 KiB."""

    def write() -> None:
        with (folder / "probe").open("wb") as stream:
            stream.write(b"x" * 4096)
            stream.flush()
            os.fsync(stream.fileno())

    return median_ms(write)


OPEN = """
import sys, time
from mlsecops import Registry, TrustPolicy
policy = TrustPolicy(keys=[sys.argv[2]])
begun = time.perf_counter()
registry = Registry(sys.argv[1], policy=policy)
opened = time.perf_counter()
registry.resolve("served", "serving")
print(opened - begun, time.perf_counter() - begun)
"""


def opening(location: str, key: Path) -> tuple[float, float]:
    """Seconds to open, and to open and resolve, in a fresh process; medians of five."""
    runs = []
    for _ in range(5):
        command = [sys.executable, "-c", OPEN, location, str(key)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append([float(each) for each in done.stdout.split()])
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)


def scale(location: str, work: Path, options: argparse.Namespace) -> None:
    """A large registry at a location."""
    signer = Signer.generate("ed25519")
    work.mkdir()
    (work / "key.pem").write_text(signer.public_key.pem)
    policy = TrustPolicy(keys=[signer.public_key])
    first = Registry(location, signer=signer, policy=policy)
    first.publish("served", model(work / "model", signer, b"served"))
    first.promote("served", 1, "serving")
    begun = time.perf_counter()
    store = open_store(location)
    fill(store, signer, entries_about(first, options.versions, options.entries))
    print(f"{location.partition('://')[0] if '://' in location else 'folder'}:")
    print(f"  written in {time.perf_counter() - begun:.1f} s")
    writer = Registry(location, signer=signer, policy=policy)
    writer.quarantine(Digest.of(b"begin"), "a benchmark")
    opened, resolved = opening(location, work / "key.pem")
    print(f"  open {opened:.3f} s, open and resolve in a fresh process {resolved:.3f} s")
    reader = Registry(location, policy=policy)
    reader.resolve("served", "serving")
    print(f"  resolve, warm: {median_ms(lambda: reader.resolve('served', 'serving')):.1f} ms")
    isolated = median_ms(lambda: reader.isolated(Digest.of(b"x")))
    print(f"  isolated, warm: {isolated:.2f} ms")
    with counted() as opened_stores:
        counting = Registry(location, signer=signer, policy=policy)
        counting.record_once("incident.benchmark", {"n": -1})
        numbers = iter(range(10**6))
        opened_stores[0].requests.clear()
        appended = median_ms(
            lambda: counting.quarantine(Digest.of(b"q%d" % next(numbers)), "a benchmark")
        )
        requests = len(opened_stores[0].requests) / REPEATED
    synced = synced_write_ms(work)
    print(f"  append: p50 {appended:.1f} ms, {requests:.2f} requests")
    print(f"  (one synced write of 4 KiB: {synced:.1f} ms; an append waits for four)")
    follow = median_ms(
        lambda: (
            counting.quarantine(Digest.of(b"r%d" % next(numbers)), "a benchmark"),
            reader.isolated(Digest.of(b"x")),
        ),
        10,
    )
    print(f"  append and verify what is new in another reader: {follow:.1f} ms")
    begun = time.perf_counter()
    checkpoint = reader.verify_log()
    print(f"  verify_log, {checkpoint.size} entries: {time.perf_counter() - begun:.1f} s")


def proofs(work: Path, leaves: int) -> None:
    """Inclusion and consistency proofs in a large log."""
    signer = Signer.generate("ed25519")
    store = open_store(work / "million")
    log = TileLog(store, prefix="log/", head="head", signer=signer)
    size = 0
    while size < leaves:
        count = min(20_000, leaves - size)
        log.append([b"%d" % number for number in range(size, size + count)], size=size)
        size += count
    checkpoint, turn = log.newest(), iter(range(10**6))

    def include() -> None:
        index = next(turn) * 7919 % leaves
        entry, _, _ = log.inclusion(index)
        if leaf_hash(entry) != leaf_hash(b"%d" % index):
            raise SystemExit("another entry was proven")

    def extend() -> None:
        log.tree(checkpoint).consistency_steps(1 + next(turn) * 7919 % (leaves - 1))

    print(f"log of {leaves} entries:")
    print(f"  inclusion proof, verified: {median_ms(include):.1f} ms")
    print(f"  consistency proof: {median_ms(extend):.1f} ms")


def publish_all(location: str, signer: bytes, folders: list[str]) -> None:
    """One publisher."""
    key = Path(tempfile.mkdtemp()) / "key.pem"
    key.write_bytes(signer)
    own = Signer.from_pem(key)
    registry = Registry(location, signer=own, policy=TrustPolicy(keys=[own.public_key]))
    for folder in folders:
        registry.publish("raced", folder)


def race(location: str, work: Path) -> None:
    """Publishers at once."""
    signer = Signer.generate("ed25519")
    policy = TrustPolicy(keys=[signer.public_key])
    registry = Registry(location, signer=signer, policy=policy)
    folders = [
        [
            str(model(work / f"raced-{each}-{number}", signer, b"%d %d" % (each, number)))
            for number in range(EACH)
        ]
        for each in range(PUBLISHERS)
    ]
    context = multiprocessing.get_context("spawn")
    begun = time.perf_counter()
    workers = [
        context.Process(target=publish_all, args=(location, signer.to_pem(), each))
        for each in folders
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    versions = [version.version for version in registry.versions("raced")]
    gapless = versions == list(range(1, PUBLISHERS * EACH + 1))
    ended = [worker.exitcode for worker in workers] == [0] * PUBLISHERS
    place = location.partition("://")[0] if "://" in location else "folder"
    print(
        f"race of {PUBLISHERS} publishers with {EACH} versions each, {place}: "
        f"{len(versions)} versions, without a gap: {gapless and ended}, "
        f"{time.perf_counter() - begun:.1f} s, log of {registry.verify_log().size} verified"
    )


def kills(location: str, work: Path) -> None:
    """Each operation, stopped before each of its requests and called again; another end is fatal.

    Args:
        location: Prefix of new locations.
        work: A new folder.
    """
    signer, stopped = Signer.generate("p256"), []
    for name in OPERATIONS:

        def folder(weights: bytes, name: str = name) -> Path:
            return model(work / name / weights.decode(), signer, weights)

        killing = Killing(f"{location}-{name}", name, signer, folder)
        number = -1
        for number in killing.each_request():  # noqa: B007 - the last one is looked at
            killing.require_old_or_new()
            killing.require_repeatable()
        stopped.append(f"{name} {number + 1}")
    print(f"killed before each request, {location}: {', '.join(stopped)}; one end state each")


def main() -> None:
    """Measure everything."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    chosen = {options.only} if options.only else {*PARTS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        if "folder" in chosen:
            scale(str(Path(folder, "large")), Path(folder, "a"), options)
        if "proofs" in chosen:
            proofs(Path(folder), options.leaves)
        if "race" in chosen:
            race(str(Path(folder, "raced")), Path(folder, "b"))
        if "kills" in chosen:
            kills(str(Path(folder, "killed")), Path(folder, "e"))
            kills("memory://killed", Path(folder, "f"))
        if chosen & {"s3", "race", "kills"}:
            with s3_bucket("bench"):
                if "s3" in chosen:
                    scale("s3://bench/large", Path(folder, "c"), options)
                if "race" in chosen:
                    race("s3://bench/raced", Path(folder, "d"))
                if "kills" in chosen:
                    kills("s3://bench/killed", Path(folder, "g"))


if __name__ == "__main__":
    main()
