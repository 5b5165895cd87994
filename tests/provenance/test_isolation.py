"""Isolation watch: few requests, and no old answer for longer than is stated."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import pytest

from mlsecops.errors import DigestMismatch, RegistryError, UsageError
from mlsecops.provenance import Digest
from mlsecops.provenance.isolation import IsolationWatch, first_isolated

DIGEST, OTHER = Digest.of(b"one"), Digest.of(b"two")


class Registry:
    """Source that lists; it counts its readings and fails on demand."""

    def __init__(self) -> None:
        self.answer: dict[str, str] = {}
        self.failure: Exception | None = None
        self.asked = 0
        self.hang: threading.Event | None = None

    def isolations(self) -> Mapping[str, str]:
        self.asked += 1
        if self.hang is not None:
            self.hang.wait(30)
        if self.failure is not None:
            raise self.failure
        return dict(self.answer)

    def isolated(self, digest: Digest) -> str | None:
        return self.isolations().get(str(digest))


@pytest.fixture
def source() -> Registry:
    return Registry()


class Clock:
    """Monotonic time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch(source: Registry, clock: Clock, stale_after: float = 5.0) -> IsolationWatch:
    return IsolationWatch(source, stale_after=stale_after, clock=clock)


def test_all_watches_of_a_source_share_one_request_a_period(source: Registry, clock: Clock) -> None:
    both = [watch(source, clock), watch(source, clock)]
    for moment in (0.0, 0.5, 0.99):
        clock.now = moment
        assert [each.isolated(digest) for each in both for digest in (DIGEST, OTHER)] == [None] * 4
    assert source.asked == 1
    source.answer[str(DIGEST)] = "incident 7"
    clock.now = 1.0
    assert [each.isolated(DIGEST) for each in both] == ["incident 7"] * 2
    assert both[0].isolated(OTHER) is None
    assert source.asked == 2


def test_without_contact_the_last_answer_counts_for_a_while_and_then_no_more(
    source: Registry, clock: Clock
) -> None:
    each = watch(source, clock)
    each.isolated(DIGEST)
    source.failure = OSError("no route")
    for moment in (1.0, 4.9):
        clock.now = moment
        assert each.isolated(DIGEST) is None
    clock.now = 5.1
    with pytest.raises(RegistryError, match=r"no contact.*5\.1 s.*no route"):
        each.isolated(DIGEST)
    source.failure = None
    clock.now = 6.2
    assert each.isolated(DIGEST) is None


def test_without_a_period_every_call_asks(source: Registry, clock: Clock) -> None:
    each = IsolationWatch(source, refresh=0, stale_after=5, clock=clock)
    assert each.isolated(DIGEST) is None
    source.answer[str(DIGEST)] = "incident 7"
    assert each.isolated(DIGEST) == "incident 7"
    assert source.asked == 2
    source.failure = OSError("no route")
    clock.now = 4.9
    assert each.isolated(DIGEST) == "incident 7"
    clock.now = 5.1
    with pytest.raises(RegistryError, match="no contact"):
        each.isolated(OTHER)
    source.failure = DigestMismatch("the log was rewritten")
    clock.now = 0.0
    with pytest.raises(DigestMismatch):
        each.isolated(OTHER)


def test_a_source_that_never_answered_is_no_permission(source: Registry, clock: Clock) -> None:
    source.failure = OSError("no route")
    with pytest.raises(RegistryError, match="so far"):
        watch(source, clock, stale_after=1e9).isolated(DIGEST)


def test_a_log_that_does_not_verify_is_refused_at_once(source: Registry, clock: Clock) -> None:
    each = watch(source, clock, stale_after=1e9)
    each.isolated(DIGEST)
    source.failure = DigestMismatch("the log was rewritten")
    clock.now = 1.0
    with pytest.raises(DigestMismatch):
        each.isolated(DIGEST)


def test_a_request_that_hangs_holds_nobody_for_long(
    source: Registry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.provenance.isolation._PATIENCE", 0.05)
    each = watch(source, clock)
    each.isolated(DIGEST)
    source.hang = threading.Event()
    clock.now = 1.0
    assert each.isolated(DIGEST) is None
    clock.now = 6.0
    with pytest.raises(RegistryError, match="it does not answer"):
        each.isolated(DIGEST)
    assert source.asked == 2
    source.hang.set()


def test_a_forked_process_asks_for_itself(source: Registry, clock: Clock) -> None:
    each = watch(source, clock)
    source.hang = threading.Event()
    waiting = threading.Thread(target=each.isolated, args=(DIGEST,))
    waiting.start()
    child = os.fork()
    if child == 0:  # the thread that asks does not exist here
        source.hang = None
        clock.now = 1.0
        os._exit(0 if each.isolated(DIGEST) is None else 1)
    source.hang.set()
    waiting.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_source_that_cannot_list_is_asked_for_each_digest(clock: Clock) -> None:
    class Deny:
        asked = 0

        def isolated(self, digest: Digest) -> str | None:
            self.asked += 1
            return "no" if digest == DIGEST else None

    deny = Deny()
    each = IsolationWatch(deny, clock=clock)
    assert [each.isolated(one) for one in (DIGEST, OTHER, DIGEST)] == ["no", None, "no"]
    assert deny.asked == 2
    assert first_isolated(each, [OTHER, DIGEST]) == (DIGEST, "no")
    assert first_isolated(deny, [OTHER]) == (None, None)


def test_the_first_isolated_digest_is_found_in_one_reading(source: Registry) -> None:
    source.answer[str(DIGEST)] = "incident 7"
    assert first_isolated(source, [OTHER, DIGEST]) == (DIGEST, "incident 7")
    assert source.asked == 1


@pytest.mark.parametrize("option", ["refresh", "stale_after"])
def test_an_option_out_of_range_is_named(source: Registry, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        IsolationWatch(source, **{option: -1.0})
    with pytest.raises(UsageError, match="isolation"):
        IsolationWatch(object())  # type: ignore[arg-type] # the misuse
