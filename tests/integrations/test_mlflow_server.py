"""A real MLflow server with its artifact proxy: MLflow's tutorials, honest and attacked."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    SignatureMissing,
    ThresholdNotMet,
    UsageError,
)
from mlsecops.integrations.mlflow import (
    copy_version,
    promote,
    protect,
    publish,
    rollback,
    sign_version,
)
from mlsecops.integrations.mlflow.signatures import BUNDLE, number_of, verified_version
from mlsecops.provenance import Statement, hash_path
from mlsecops.signing import Signer, TrustPolicy
from tests.services import eventually, free_port, ready, serving

mlflow = pytest.importorskip("mlflow")
sklearn_linear = pytest.importorskip("sklearn.linear_model")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: Any) -> Iterator[Path]:
    """The server's folder of artifacts, to which an attacker has access."""
    place = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--workers", "1",
        "--artifacts-destination", str(place / "artifacts"),
    ]  # fmt: skip
    before = mlflow.get_tracking_uri()
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        patch.chdir(place)
        with serving(command, port, patience=300):  # it makes its database first
            eventually(lambda: ready(f"http://127.0.0.1:{port}/health"), "MLflow is ready")
            mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
            yield place / "artifacts"
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(artifacts: Path) -> Any:
    assert artifacts.parent.is_dir()
    return mlflow.MlflowClient()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name.partition("[")[0]


def log(**more: Any) -> Any:
    """Train and log a model, as MLflow's first tutorial does."""
    model = sklearn_linear.LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with mlflow.start_run():
        mlflow.log_params({"C": model.C})
        return mlflow.sklearn.log_model(model, name="model", pip_requirements=[], **more)


def stored(artifacts: Path, info: Any) -> Path:
    """Folder in which the server keeps a logged model."""
    [found] = [path.parent for path in artifacts.rglob("MLmodel") if info.model_id in str(path)]
    return found


def edit(artifacts: Path, info: Any) -> None:
    with (stored(artifacts, info) / "MLmodel").open("a") as stream:
        stream.write("# edited\n")


def answer(uri: str) -> list[int]:
    return [int(each) for each in mlflow.pyfunc.load_model(uri).predict([[0.9]])]


def numbers(client: Any, name: str) -> list[int]:
    return [number_of(each.version) for each in client.search_model_versions(f"name = '{name}'")]


def ways(name: str, info: Any) -> list[str]:
    return [f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/latest",
            f"models:/{info.model_id}", f"runs:/{info.run_id}/model"]  # fmt: skip


def test_a_model_that_was_logged_registered_promoted_and_loaded_verifies(
    name: str, artifacts: Path, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    info = log()
    published = publish(name, info.model_uri, signer=signer)
    assert promote(name, "1", "champion", policy=policy).digest == published.digest
    with protect(policy, others="refuse"):
        assert [answer(uri) for uri in ways(name, info)] == [[1]] * 5
        assert mlflow.sklearn.load_model(f"models:/{name}@champion").predict([[0.9]]) == [1]
    edit(artifacts, info)
    with protect(policy):
        for uri in ways(name, info):
            with pytest.raises(DigestMismatch, match="MLmodel"):
                answer(uri)
    with pytest.raises(DigestMismatch, match="MLmodel"):
        promote(name, 1, "champion", policy=policy)
    assert "champion" in client.get_registered_model(name).aliases


def test_a_version_that_logging_registered_is_signed_where_it_is(
    name: str, signer: Signer, policy: TrustPolicy
) -> None:
    info = log(registered_model_name=name)
    with protect(policy), pytest.raises(SignatureMissing, match="sign_version"):
        answer(f"models:/{name}/1")
    other = Signer.generate("p384")
    signed = sign_version(name, "1", signer=signer)
    with pytest.raises(UsageError, match="--add"):
        sign_version(name, 1, signer=other)
    assert sign_version(name, 1, signer=other, add=True) == signed
    both = TrustPolicy(keys=[signer.public_key, other.public_key], threshold=2)
    with protect(both):
        assert answer(f"models:/{name}/1") == answer(f"models:/{info.model_id}") == [1]
    sign_version(name, 1, signer=other, replace=True)
    with pytest.raises(ThresholdNotMet):
        verified_version(name, 1, both)


def test_several_signers_and_statements_are_published_and_copied(
    name: str, signer: Signer, client: Any, tmp_path: Path
) -> None:
    info = log()
    fetched = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path))
    (Path(fetched) / "registered_model_meta").unlink()
    statement = Statement.build(
        subjects={"model": hash_path(fetched).root},
        predicate_type="https://example.com/review/v1",
        predicate={"reviewer": "ada"},
    )
    other = Signer.generate("ed25519")
    publish(name, info.model_uri, signer=[signer, other], statements=[statement])
    both = TrustPolicy(keys=[signer.public_key, other.public_key], threshold=2)
    made = copy_version(name, "1", f"{name}-prod", policy=both, signer=[signer, other])
    assert (made.name, made.version) == (f"{name}-prod", 1)
    verified = promote(f"{name}-prod", made.version, "champion", policy=both)
    assert (verified.name, len(verified.signers)) == (f"{name}-prod", 2)
    assert [each.predicate_type for each in verified.statements] == [statement.predicate_type]
    with protect(both):
        assert answer(f"models:/{name}-prod@champion") == answer(f"models:/{name}/1") == [1]
    native = client.copy_model_version(f"models:/{name}/1", f"{name}-native")
    with protect(both), pytest.raises(MLSecOpsError, match="sign"):
        answer(f"models:/{name}-native/{native.version}")
    sign_version(f"{name}-native", native.version, signer=[signer, other], replace=True)
    with protect(both):
        assert answer(f"models:/{name}-native/{native.version}") == [1]


def test_an_edited_version_is_not_copied(
    name: str, artifacts: Path, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    info = log()
    publish(name, info.model_uri, signer=signer)
    edit(artifacts, info)
    with pytest.raises(DigestMismatch, match="MLmodel"):
        copy_version(name, 1, f"{name}-prod", policy=policy, signer=signer)
    assert client.search_model_versions(f"name = '{name}-prod'") == []


class Away(Signer):
    public_key = Signer.generate().public_key

    def sign(self, data: bytes) -> bytes:
        raise ConnectionError(f"no answer for {len(data)} bytes")


def test_nothing_is_registered_when_signing_fails(
    name: str, signer: Signer, policy: TrustPolicy, client: Any, monkeypatch: Any
) -> None:
    publish(name, log().model_uri, signer=signer)
    info = log()
    with pytest.raises((ConnectionError, MLSecOpsError)):
        publish(name, info.model_uri, signer=Away())
    publication = importlib.import_module("mlsecops.integrations.mlflow.publication")
    with monkeypatch.context() as patch:
        patch.setattr(publication, "LONGEST", 10)
        with pytest.raises(UsageError, match="at most 10 characters"):
            publish(name, info.model_uri, signer=signer)
    assert numbers(client, name) == [1]
    with protect(policy):
        assert answer(f"models:/{name}/latest") == [1]


def test_a_number_that_another_took_meanwhile_is_signed_again_or_taken_back(
    name: str, signer: Signer, policy: TrustPolicy, client: Any, monkeypatch: Any
) -> None:
    publish(name, log().model_uri, signer=signer)
    publish(name, log().model_uri, signer=signer)
    client.delete_model_version(name, "2")
    assert publish(name, log().model_uri, signer=signer).version == 3
    with protect(policy):
        assert answer(f"models:/{name}/3") == [1]
    client.delete_model_version(name, "3")
    publication = importlib.import_module("mlsecops.integrations.mlflow.publication")

    def fail(*_: object) -> None:
        raise ConnectionError("the server went away")

    with monkeypatch.context() as patch:
        patch.setattr(publication, "_tag", fail)
        with pytest.raises(ConnectionError):
            publish(name, log().model_uri, signer=signer)
    assert numbers(client, name) == [1]


def test_another_models_bundle_does_not_pass_and_a_rollback_finds_the_good_version(
    name: str, artifacts: Path, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    infos = [log() for _ in range(3)]
    for info in infos:
        publish(name, info.model_uri, signer=signer)
    tag = client.get_model_version(name, "1").tags[BUNDLE]
    client.set_model_version_tag(name, "2", BUNDLE, tag)
    with pytest.raises(DigestMismatch):
        verified_version(name, 2, policy)
    promote(name, 3, "champion", policy=policy)
    edit(artifacts, infos[2])
    assert rollback(name, "champion", policy=policy) == 1


def test_models_from_elsewhere_are_refused_and_other_files_are_not(  # noqa: PLR0917 - fixtures
    name: str, artifacts: Path, signer: Signer, policy: TrustPolicy, client: Any, tmp_path: Path
) -> None:
    info = log()
    publish(name, info.model_uri, signer=signer)
    location = client.get_logged_model(info.model_id).artifact_location
    assert location.startswith("mlflow-artifacts:")
    plain = tmp_path / "plain"
    shutil.copytree(stored(artifacts, info), plain)
    client.log_text(info.run_id, "fine", "notes.txt")
    with protect(policy):
        assert answer(location) == answer(str(plain)) == [1]
    with protect(policy, others="refuse"):
        for uri in (location, str(plain), plain.as_uri(), f"{plain}/MLmodel"):
            with pytest.raises(SignatureMissing, match="models:/NAME/VERSION"):
                mlflow.pyfunc.load_model(uri)
        with pytest.raises(SignatureMissing):
            mlflow.sklearn.load_model(str(plain))
        assert mlflow.artifacts.load_text(f"runs:/{info.run_id}/notes.txt") == "fine"
        run = client.get_run(info.run_id).info.artifact_uri
        assert mlflow.artifacts.load_text(f"{run}/notes.txt") == "fine"
        mine = tmp_path / "mine"
        mine.mkdir()
        model = mlflow.pyfunc.load_model(f"models:/{name}/1", dst_path=str(mine))
        assert [int(each) for each in model.predict([[0.9]])] == [1]
        assert answer(str(mine)) == [1]
        (mine / "MLmodel").open("a").write("# edited\n")
        with pytest.raises(DigestMismatch, match="MLmodel"):
            answer(str(mine))
        log()  # logging is not hindered
    assert answer(str(plain)) == [1], "the protection ends with its block"


@pytest.mark.parametrize("version", ["champion", "1.0", 1.0, True, None, "-1", "²"])
def test_what_is_no_version_is_wrong_use(version: Any, policy: TrustPolicy) -> None:
    with pytest.raises(UsageError, match="version"):
        promote("fraud", version, "champion", policy=policy)
