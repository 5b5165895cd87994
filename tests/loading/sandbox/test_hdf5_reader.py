"""A file over which the HDF5 library hangs or crashes takes a child with it, and nothing else."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("h5py")

from mlsecops.loading import Limits, Verdict, scan
from mlsecops.loading.sandbox.worker import _desk
from tests.attackers.model_folders import endless_h5, hostile_hdf5, weights, whole_h5


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    path = tmp_path / "honest.h5"
    path.write_bytes(whole_h5())
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    path = tmp_path / "endless.h5"
    path.write_bytes(endless_h5())
    return path


def rules(verdict: Verdict) -> list[str]:
    return [finding.rule for finding in verdict.findings]


def running() -> list[int]:
    """Forks of the child."""
    assert _desk._child is not None
    pid = _desk._child._process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_file_that_keeps_the_library_busy_for_ever_is_refused(
    endless: Path, honest: Path
) -> None:
    verdict = scan(endless, limits=Limits(seconds=1))
    assert rules(verdict) == ["limit-exceeded"]
    assert "Limits(seconds=" in verdict.findings[0].message
    assert not scan(honest).refused


def test_groups_deeper_than_allowed_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["/".join("g" * 6)] = 1.0
    refused = scan(tmp_path / "deep.h5", limits=Limits(depth=5))
    assert rules(refused) == ["limit-exceeded"]
    assert "groups nested too deeply" in refused.findings[0].message
    assert not scan(tmp_path / "deep.h5", limits=Limits(depth=8)).refused


def test_a_file_over_which_the_library_crashes_is_refused(endless: Path, honest: Path) -> None:
    scan(honest)

    def crash() -> None:
        while not (forks := running()):
            time.sleep(0.01)
        os.kill(forks[0], signal.SIGSEGV)

    thread = threading.Thread(target=crash)
    thread.start()
    verdict = scan(endless)
    thread.join()
    assert rules(verdict) == ["malformed"]
    assert "SIGSEGV" in verdict.findings[0].message
    assert not scan(honest).refused


def test_a_child_that_somebody_ended_is_started_anew(honest: Path) -> None:
    scan(honest)
    assert _desk._child is not None
    _desk._child._process.kill()
    _desk._child._process.wait()
    assert not scan(honest).refused


def test_an_interrupted_question_leaves_no_answer_for_the_next(
    endless: Path, honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(honest)

    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlsecops.loading.sandbox.worker._Child._status", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scan(endless, limits=Limits(seconds=1))
    assert _desk._child is None
    assert not scan(honest).refused


def test_a_fork_of_ours_asks_a_child_of_its_own(honest: Path) -> None:
    scan(honest)
    assert _desk._child is not None
    ours = _desk._child._process.pid
    pid = os.fork()
    if pid == 0:
        fine = not scan(honest).refused and _desk._child._process.pid != ours
        os._exit(0 if fine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not scan(honest).refused
    assert _desk._child._process.pid == ours


def test_threads_get_the_answers_to_their_own_questions(tmp_path: Path, honest: Path) -> None:
    hostile = tmp_path / "link.h5"
    hostile.write_bytes(weights(hostile_hdf5()["soft link"]))
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(scan, [honest, hostile] * 20))
    assert [rules(each) for each in verdicts] == [[], ["hdf5-link"]] * 20


def test_the_child_ends_with_the_process_that_asked(honest: Path) -> None:
    scan(honest)
    child = _desk._child
    assert child is not None
    _desk.clear()
    with pytest.raises(ProcessLookupError):
        os.kill(child._process.pid, 0)


def test_a_fork_cannot_reach_the_socket_on_which_others_are_asked(
    endless: Path, honest: Path
) -> None:
    scan(honest)
    seen: list[str] = []

    def look() -> None:
        while not (forks := running()):
            time.sleep(0.01)
        time.sleep(0.2)
        places = Path(f"/proc/{forks[0]}/fd").iterdir()
        seen.extend(str(place.readlink()) for place in places)

    thread = threading.Thread(target=look)
    thread.start()
    scan(endless, limits=Limits(seconds=1))
    thread.join()
    assert seen
    assert not [each for each in seen if each.startswith("socket:")]
