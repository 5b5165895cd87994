import mmap
from pathlib import Path
from typing import Any

import pytest

from mlsecops.loading import memory
from mlsecops.loading.memory import Memory, forget


def test_pieces_do_not_overlap_and_are_aligned() -> None:
    held = Memory(10_000_000, pieces=3)
    places = [held.take(size) for size in (1, 5_000_001, 4_999_998)]
    whole = places[0][0]
    ends = [
        start + size for (_, start), size in zip(places, (1, 5_000_001, 4_999_998), strict=True)
    ]
    assert all(start % 64 == 0 for _, start in places)
    assert all(end <= start for end, (_, start) in zip(ends, places[1:], strict=False))
    assert ends[-1] <= len(whole)
    assert not any(whole[:: mmap.PAGESIZE])


@pytest.mark.parametrize("refused", ["all", "huge"])
def test_a_kernel_without_such_advice_still_gives_memory(
    monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    class Old(mmap.mmap):
        def madvise(self, option: Any, *rest: Any) -> Any:
            if refused == "all" or option == mmap.MADV_HUGEPAGE:
                raise OSError(22, "Invalid argument")
            return super().madvise(option, *rest)

    monkeypatch.setattr(memory.mmap, "mmap", Old)
    whole, start = Memory(9_000_000, pieces=1).take(9_000_000)
    whole[start : start + 9_000_000] = b"x" * 9_000_000
    assert whole[start + 8_999_999] == ord("x")


def test_huge_pages_that_come_slowly_are_asked_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    asked = []

    class Spy(mmap.mmap):
        def madvise(self, option: Any, *rest: Any) -> Any:
            asked.append(option)
            return super().madvise(option, *rest)

    monkeypatch.setattr(memory.mmap, "mmap", Spy)
    monkeypatch.setattr(memory.time, "thread_time", lambda: float(next(now)))
    Memory(20_000_000, pieces=1).take(20_000_000)
    assert asked[0] == mmap.MADV_HUGEPAGE
    assert asked.count(mmap.MADV_NOHUGEPAGE) == 1
    assert asked.index(mmap.MADV_NOHUGEPAGE) == 2


def test_what_is_forgotten_is_read_again_from_the_file(tmp_path: Path) -> None:
    import ctypes  # noqa: PLC0415 - only to learn an address

    file = tmp_path / "f"
    file.write_bytes(b"abcd" * 10_000)
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    assert mapped[:4] == b"abcd"
    forget(address + 1, 39_998)
    assert mapped[:] == b"abcd" * 10_000
    forget(address, 0)
