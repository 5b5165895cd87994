"""A fault between any two requests: the process is killed, or an answer is lost."""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlsecops.audit.objects import FolderStore
from mlsecops.errors import RegistryError
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.migration import migrate_log
from mlsecops.signing import Signer, TrustPolicy
from tests.attackers import incident
from tests.attackers import registry as attack
from tests.buckets import s3_bucket
from tests.registry.killing import OPERATIONS, Killing, run_until
from tests.registry.stores import CountedStore, Fault, objects, put_back

Model = Callable[[bytes], Path]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("killed"):
        yield "s3://killed"


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder whose synced writes take no time, where there is one."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as place:
        yield Path(place)


@pytest.fixture(params=["folder", "memory", "s3"])
def location(request: pytest.FixtureRequest, memory_folder: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/prefix-{next(NUMBERS)}"
    number = next(NUMBERS)
    return str(memory_folder / "reg") if request.param == "folder" else f"memory://k-{number}"


@pytest.mark.parametrize(
    ("location", "name", "step"),
    [
        *((place, name, 1) for place in ("folder", "memory") for name in OPERATIONS),
        *(("s3", name, 5) for name in ("publish", "promote", "quarantine", "rollback")),
    ],
    indirect=["location"],
)
def test_a_process_killed_between_two_requests_leaves_nothing_half_done(
    location: str, name: str, step: int, signer: Signer, model: Model
) -> None:
    """On S3 a sample; `benchmarks/registry.py` stops before every request there too."""
    killing = Killing(location, name, signer, model)
    number = -1
    for number in killing.each_request(step):  # noqa: B007 - the last one is looked at
        killing.require_old_or_new()
        killing.require_repeatable()
    assert number >= 6


@pytest.mark.parametrize("fault", ["lost", "repeated"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_answer_that_is_lost_on_the_way_does_no_harm(
    name: str, fault: Fault, signer: Signer, model: Model
) -> None:
    killing = Killing(f"memory://k-{next(NUMBERS)}", name, signer, model)
    number = -1
    for number in killing.each_request(fault=fault):  # noqa: B007 - the last one is looked at
        if fault == "repeated":
            assert killing.seen() == killing.new
        killing.require_old_or_new()
        killing.require_repeatable()
    assert number >= 6


@pytest.mark.parametrize("name", OPERATIONS)
def test_sigkill_at_a_write_leaves_nothing_half_done(
    memory_folder: Path, name: str, signer: Signer, model: Model
) -> None:
    killing = Killing(str(memory_folder / "reg"), name, signer, model)
    for number in itertools.count(1 + [*OPERATIONS].index(name), 9):
        put_back(killing.location, killing.template)
        if not incident.kill_at_write(number, killing.operate):
            break
        killing.require_old_or_new()
        killing.require_repeatable()
    assert number >= 9


def test_a_registry_whose_beginning_was_killed_is_begun_again(
    location: str, signer: Signer, policy: TrustPolicy
) -> None:
    for limit in itertools.count():
        place = f"{location}-{limit}"
        begin = functools.partial(Registry, place, signer=signer, policy=policy)
        finished = run_until(limit, begin)
        assert begin().verify_log().size == 1
        assert Registry(place, policy=policy).versions() == ()
        if finished:
            break
    assert limit >= 4


def test_a_migration_that_was_killed_is_repeated(
    memory_folder: Path, signer: Signer, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = memory_folder / "reg"
    Registry(template, signer=signer, policy=policy).quarantine(Digest.of(b"a"), "poisoned")
    root = attack.as_earlier_release(template, signer).verify().root
    migrate = functools.partial(migrate_log, template, signer=signer, policy=policy)
    before = objects(str(template))
    for limit in itertools.count():
        put_back(str(template), before)
        with monkeypatch.context() as patch:
            patch.setattr(
                "mlsecops.registry.migration.FolderStore",
                lambda root: CountedStore(FolderStore(root), limit),  # noqa: B023 - called at once
            )
            finished = run_until(limit, migrate)
        if not finished:
            assert old_or_new(template, policy) in {"old", root}
            assert migrate().root == root
        reader = Registry(template, policy=policy)
        assert reader.verify_log().root == root
        assert reader.isolated(Digest.of(b"a")) == "poisoned"
        if finished:
            break
    assert limit >= 4


def old_or_new(place: Path, policy: TrustPolicy) -> str | bytes:
    """Root of the log, or that it is of the earlier release."""
    try:
        return Registry(place, policy=policy).verify_log().root
    except RegistryError as error:
        return "old" if "migrate" in str(error) else str(error)
