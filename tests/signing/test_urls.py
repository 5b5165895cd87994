"""Models in stores (S3, Google Cloud Storage, Hugging Face, memory): signed and verified there."""

import importlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mlsecops import SecureLoader, Signer, TrustPolicy, errors, hash_path, sign, verify
from mlsecops.cli import main
from tests.buckets import s3_bucket
from tests.gcs import cloud_storage
from tests.hub import hub

FILES = {"config.json": b"{}", "sub/weights.bin": b"w" * 5000}
STORES = ["memory", "s3", "gs", "hf"]

pytestmark = pytest.mark.filterwarnings("ignore:Your installed version of s3fs:UserWarning")


class Store:
    """A model behind a URL, and how an attacker writes to the store."""

    def __init__(self, url: str, put: Any) -> None:
        self.url = url
        self.put = put


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_bucket("signed") as client:
        yield client


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    folder = f"t{uuid.uuid4().hex}"
    if request.param == "s3":
        client = request.getfixturevalue("bucket")
        yield filled(
            f"s3://signed/{folder}/fraud",
            lambda name, data: client.put_object(
                Bucket="signed", Key=f"{folder}/fraud/{name}", Body=data
            ),
        )
    elif request.param == "gs":
        pytest.importorskip("gcsfs")
        with cloud_storage() as (url, objects):
            settings = {"endpoint_url": url, "token": "anon"}
            monkeypatch.setitem(fsspec.config.conf, "gs", settings)
            yield filled(
                f"gs://models/{folder}/fraud",
                lambda name, data: objects.update({f"{folder}/fraud/{name}": data}),
            )
    elif request.param == "hf":
        pytest.importorskip("huggingface_hub")
        with hub() as served:
            monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": served.url, "token": "hf_t"})
            files = served.repositories.setdefault("org/fraud", {})
            yield filled("hf://org/fraud", lambda name, data: files.update({name: data}))
    else:
        system = fsspec.filesystem("memory")
        yield filled(
            f"memory://{folder}/fraud",
            lambda name, data: system.pipe(f"/{folder}/fraud/{name}", data),
        )


def filled(url: str, put: Any) -> Store:
    for name, data in FILES.items():
        put(name, data)
    return Store(url, put)


@pytest.fixture
def signer() -> Signer:
    return Signer.generate()


@pytest.fixture
def policy(signer: Signer) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])


def test_a_model_in_a_store_is_signed_and_verified_there(
    store: Store, signer: Signer, policy: TrustPolicy
) -> None:
    bundle = sign(store.url, signer)
    assert bundle.path == f"{store.url}/model.sig"
    verified = verify(store.url, policy=policy)
    assert (verified.name, sorted(entry.name for entry in verified.manifest)) == (
        "fraud",
        sorted(FILES),
    )
    assert verified.ignored == ()
    store.put("config.json", b"[]")
    with pytest.raises(errors.DigestMismatch, match=r"changed 'config\.json'"):
        verify(store.url, policy=policy)
    store.put("config.json", FILES["config.json"])
    store.put("evil.py", b"print('ran')")
    with pytest.raises(errors.DigestMismatch, match=r"added 'evil\.py'"):
        verify(store.url, policy=policy)


def test_nobodys_signature_in_a_store_is_lost(
    store: Store, signer: Signer, policy: TrustPolicy
) -> None:
    with pytest.raises(errors.SignatureMissing, match="no signature at"):
        verify(store.url, policy=policy)
    sign(store.url, signer)
    other = Signer.generate("p384")
    with pytest.raises(errors.UsageError, match="--add"):
        sign(store.url, other)
    sign(store.url, other, add=True)
    both = TrustPolicy(keys=[signer.public_key, other.public_key], threshold=2)
    assert len(verify(store.url, policy=both).signers) == 2


def test_a_bundle_and_a_model_may_be_in_different_places(
    store: Store, signer: Signer, policy: TrustPolicy, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        place = tmp_path / "fraud" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    sign(tmp_path / "fraud", signer, out=f"{store.url}/release.sig")
    verify(tmp_path / "fraud", f"{store.url}/release.sig", policy=policy)
    assert verify(store.url, f"{store.url}/release.sig", policy=policy).name == "fraud"
    sign(store.url, signer, out=tmp_path / "local.sig", ignore=["release.sig"])
    assert verify(store.url, tmp_path / "local.sig", policy=policy).ignored == ("release.sig",)


def test_one_object_has_its_bundle_next_to_it(
    store: Store, signer: Signer, policy: TrustPolicy
) -> None:
    url = f"{store.url}/sub/weights.bin"
    assert sign(url, signer).path == f"{url}.sig"
    assert verify(url, policy=policy).name == "weights.bin"
    store.put("sub/weights.bin", b"v" * 5000)
    with pytest.raises(errors.DigestMismatch):
        verify(url, policy=policy)


def test_a_secret_among_the_objects_refuses_to_sign(store: Store, signer: Signer) -> None:
    store.put("sub/release.txt", Signer.generate().to_pem())
    with pytest.raises(errors.UnsafeContent, match=r"sub/release\.txt \(a private key\)"):
        sign(store.url, signer)
    sign(store.url, signer, include_secrets=True)


def test_the_command_signs_and_verifies_in_a_store(
    store: Store, signer: Signer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "k.pem").write_bytes(signer.to_pem())
    (tmp_path / "k.pub.pem").write_text(signer.public_key.pem)
    trust = ["--key", str(tmp_path / "k.pub.pem")]
    assert main(["sign", store.url, "--key", str(tmp_path / "k.pem")]) == 0
    assert f"{store.url}/model.sig" in capsys.readouterr().out
    assert main(["verify", store.url, *trust]) == 0
    assert main(["verify", store.url, *trust, "--bundle", f"{store.url}/model.sig"]) == 0
    store.put("config.json", b"[]")
    assert main(["verify", store.url, *trust]) == 1
    assert main(["sign", f"{store.url}/nowhere", "--key", str(tmp_path / "k.pem")]) == 2


@pytest.mark.parametrize(
    "url", ["memory://nothing/here", "nosuchscheme://x/y", "file:///no/such/place"]
)
def test_a_url_that_nobody_can_read_says_so(url: str, signer: Signer, policy: TrustPolicy) -> None:
    with pytest.raises(errors.UsageError, match="cannot read"):
        sign(url, signer)
    with pytest.raises((errors.UsageError, errors.SignatureMissing), match=url):
        verify(url, policy=policy)


def test_a_missing_reader_names_its_extra(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise ImportError("install gcsfs")

    core = importlib.import_module("fsspec.core")
    monkeypatch.setattr(core, "url_to_fs", absent)
    with pytest.raises(errors.MissingExtra, match=r"mlsecops-sdk\[gs\]"):
        sign("gs://models/fraud", signer)


def test_what_needs_local_files_says_so(policy: TrustPolicy, signer: Signer) -> None:
    with pytest.raises(errors.UsageError, match="is a URL: expected a local"):
        SecureLoader(policy).load("s3://signed/fraud")
    fsspec.filesystem("memory").pipe("/sharded/fraud/w.bin", b"x")
    with pytest.raises(errors.UsageError, match="local files"):
        sign("memory://sharded/fraud", signer, shard_size=8)


def test_a_store_that_cannot_be_written_is_named(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    system = fsspec.filesystem("memory")
    system.pipe("/locked/fraud/config.json", b"{}")
    monkeypatch.setattr(type(system), "pipe_file", refuse)
    with pytest.raises(errors.UsageError, match=r"cannot write .*model\.sig"):
        sign("memory://locked/fraud", signer)


def test_a_revision_is_no_part_of_a_repositorys_name(signer: Signer) -> None:
    pytest.importorskip("huggingface_hub")
    with hub() as served, pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "hf", {"endpoint": served.url})
        served.repositories["org/fraud"] = dict(FILES)
        assert hash_path("hf://org/fraud@main").name == "fraud"
        assert signer.public_key
