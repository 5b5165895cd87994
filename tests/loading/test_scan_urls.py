"""Scans of URLs, on a hub's stand-in, moto's S3 and memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.loading import scan, scan_each
from mlsecops.loading.scanning import remote
from tests.attackers.loading import malicious_pickle
from tests.buckets import s3_bucket
from tests.hub import hub

fsspec = pytest.importorskip("fsspec")

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + os.urandom(4000)
FILES = {"config.json": b"{}", "deep/model.safetensors": WEIGHTS, "x.pkl": b"cos\nsystem\n."}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_bucket("scanned") as client:
        yield client


@pytest.fixture(params=["memory", "hf", "s3"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "s3":
        client = request.getfixturevalue("bucket")
        for name, data in FILES.items():
            client.put_object(Bucket="scanned", Key=f"m/{name}", Body=data)
        yield "s3://scanned/m"
    elif request.param == "hf":
        pytest.importorskip("huggingface_hub")
        with hub() as served:
            monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": served.url, "token": "hf_t"})
            served.repositories["org/model"] = dict(FILES)
            yield "hf://org/model"
    else:
        system = fsspec.filesystem("memory")
        for name, data in FILES.items():
            system.pipe(f"/scan/{name}", data)
        yield "memory://scan"


@pytest.mark.filterwarnings("ignore:Your installed version of s3fs:UserWarning")
def test_a_url_is_scanned_as_the_same_folder_is(url: str, tmp_path: Path) -> None:
    for name, data in FILES.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
    there, here = scan_each(url), scan_each(tmp_path)
    assert [v.path.removeprefix(url) for v in there] == [
        v.path.removeprefix(str(tmp_path)) for v in here
    ]
    for found, expected in zip(there, here, strict=True):
        assert (found.format, found.refused) == (expected.format, expected.refused)
        assert [each.rule for each in found.findings] == [each.rule for each in expected.findings]
    verdict = scan(f"{url}/x.pkl")
    assert (verdict.path, verdict.refused) == (f"{url}/x.pkl", True)
    assert scan(url, exclude=["*.pkl"]).findings[0].rule == "excluded"


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], None]]:
    system = fsspec.filesystem("memory")
    yield lambda name, data: system.pipe(f"/one/{name}", data)
    system.rm("/one", recursive=True)


def test_of_safetensors_only_the_header_is_fetched(
    memory: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory("big.safetensors", WEIGHTS)
    fetched: list[int] = []
    real = remote._parts

    def watched(*arguments: Any) -> Iterator[bytes]:
        for part in real(*arguments):
            fetched.append(len(part))
            yield part

    monkeypatch.setattr(remote, "_parts", watched)
    (verdict,) = scan_each("memory://one")
    assert (verdict.format, verdict.findings) == ("safetensors", ())
    assert sum(fetched) == 8 + len(HEADER)
    memory("big.safetensors", WEIGHTS[:8] + b"\xff" * 100)
    assert scan("memory://one").refused


def test_an_object_that_cannot_be_fetched_is_refused_and_the_rest_is_scanned(
    memory: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory("a.json", b"{}")
    memory("b.pkl", malicious_pickle(tmp_path / "ran"))
    memory("c.json", b"{}")
    real = remote.opened_object

    def failing(url: str) -> Any:
        if url.endswith("a.json"):
            raise UsageError(f"cannot read {url}: AccessDenied")
        return real(url)

    monkeypatch.setattr(remote, "opened_object", failing)
    verdicts = {verdict.path[13:]: verdict for verdict in scan_each("memory://one")}
    assert (verdicts["a.json"].format, verdicts["a.json"].refused) == ("unreadable", True)
    assert verdicts["b.pkl"].refused
    assert not verdicts["c.json"].refused
    assert not (tmp_path / "ran").exists()


def test_an_object_that_grows_between_listing_and_fetch_is_refused(
    memory: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory("a.json", b"{}")
    real = remote.list_objects

    def listed(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        memory("a.json", b'{"_target_": "os.system"}')
        return found

    monkeypatch.setattr(remote, "list_objects", listed)
    (verdict,) = scan_each("memory://one")
    assert [each.rule for each in verdict.findings] == ["changed-during-load"]


def test_a_url_where_nothing_is_cannot_be_opened() -> None:
    with pytest.raises(UsageError, match="cannot read"):
        scan("memory://nothing/here")


def test_a_message_names_a_format_as_the_option_takes_it(tmp_path: Path) -> None:
    (tmp_path / "tool.so").write_bytes(b"\x7fELF" + bytes(200))
    (finding,) = scan(tmp_path / "tool.so").findings
    assert "<" not in finding.message
    name = finding.message.partition("allow_globals=['")[2].partition("'")[0]
    assert not scan(tmp_path / "tool.so", allow_globals=[name]).refused
