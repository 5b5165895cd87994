"""MLflow's own registry (SQLite, files) with honest, edited, swapped and unsigned models."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import (
    DigestMismatch,
    MalformedBundle,
    RegistryError,
    RollbackRefused,
    SignatureMissing,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.mlflow import BUNDLE, DIGEST, promote, protect, publish, rollback
from mlsecops.signing import Signer, TrustPolicy

mlflow = pytest.importorskip("mlflow")
repositories = pytest.importorskip("mlflow.store.artifact.artifact_repository_registry")
LOADER = "tests.integrations.mlflow_model"


@pytest.fixture(scope="module")
def place(tmp_path_factory: Any) -> Iterator[Path]:
    """A tracking server's files; its database takes seconds to make."""
    repositories.get_registered_artifact_repositories().update(  # another test may have protected
        models=repositories.ModelsArtifactRepository, runs=repositories.RunsArtifactRepository
    )
    place = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    mlflow.create_experiment("models", artifact_location=str(place / "artifacts"))
    yield place
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(place: Path) -> Any:
    assert place.is_dir()
    return mlflow.MlflowClient()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name.partition("[")[0]


@pytest.fixture
def logged(place: Path, tmp_path: Path) -> Callable[[int], Any]:
    """Logs a model that answers with a number."""
    assert place.is_dir()

    def log(answer: int) -> Any:
        data = tmp_path / f"answer-{answer}"
        data.mkdir(exist_ok=True)
        (data / "answer.txt").write_text(str(answer))
        experiment = mlflow.get_experiment_by_name("models").experiment_id
        with mlflow.start_run(experiment_id=experiment):  # set_experiment would last beyond us
            return mlflow.pyfunc.log_model(
                name="model", loader_module=LOADER, data_path=str(data), pip_requirements=[]
            )

    return log


def files(client: Any, info: Any) -> Path:
    """Where MLflow keeps a logged model."""
    return Path(client.get_logged_model(info.model_id).artifact_location.removeprefix("file://"))


def edit(folder: Path) -> None:
    (next(folder.rglob("answer.txt"))).write_text("666")


def ways(name: str, version: int, info: Any) -> list[str]:
    return [
        f"models:/{name}/{version}",
        f"models:/{name}@champion",
        f"models:/{name}/latest",
        f"models:/{info.model_id}",
        f"runs:/{info.run_id}/model",
    ]


def answer(uri: str) -> Any:
    return mlflow.pyfunc.load_model(uri, suppress_warnings=True).predict(None)


def test_a_published_model_loads_in_every_way(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    info = logged(7)
    published = publish(name, info.model_uri, signer=signer)
    assert (published.name, published.version) == (name, 1)
    assert client.get_model_version(name, "1").tags[DIGEST] == str(published.digest)
    assert promote(name, 1, "champion", policy=policy).digest == published.digest
    with protect(policy):
        assert [answer(uri) for uri in ways(name, 1, info)] == [7] * 5


def test_a_runs_model_and_a_saved_folder_can_be_published_too(  # noqa: PLR0917 - fixtures
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any, tmp_path: Path
) -> None:
    info = logged(7)
    publish(name, f"runs:/{info.run_id}/model", signer=signer)
    shutil.copytree(files(client, info), tmp_path / "saved")
    publish(name, str(tmp_path / "saved"), signer=signer)
    promote(name, 2, "champion", policy=policy)
    with protect(policy):
        assert answer(f"models:/{info.model_id}") == answer(f"runs:/{info.run_id}/model") == 7
        assert answer(f"models:/{name}@champion") == 7
        with pytest.raises(RegistryError):
            publish(name, "models:/m-nowhere", signer=signer)


def test_an_edited_model_is_refused_in_every_way(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    info = logged(7)
    publish(name, info.model_uri, signer=signer)
    promote(name, 1, "champion", policy=policy)
    edit(files(client, info))
    assert answer(f"models:/{name}/1") == 666, "MLflow itself checks nothing"
    with protect(policy):
        for uri in ways(name, 1, info):
            with pytest.raises(DigestMismatch):
                answer(uri)


@pytest.mark.parametrize(
    "attack",
    [
        lambda folder: (folder / "MLmodel").write_text(
            (folder / "MLmodel").read_text().replace(LOADER, "this")
        ),
        lambda folder: (folder / "more.py").write_text("print('ran')"),
        lambda folder: next(folder.rglob("answer.txt")).unlink(),
        lambda folder: (folder / "code").symlink_to("/etc"),
    ],
    ids=["another loader", "a file more", "a file less", "a link"],
)
def test_files_that_were_not_signed_are_refused(  # noqa: PLR0917 - fixtures
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any, attack: Any
) -> None:
    info = logged(7)
    version = publish(name, info.model_uri, signer=signer).version
    attack(files(client, info))
    with protect(policy), pytest.raises((DigestMismatch, RegistryError)):
        answer(f"models:/{name}/{version}")


def test_an_unsigned_version_is_refused_in_every_way(
    name: str, logged: Any, policy: TrustPolicy, client: Any
) -> None:
    info = logged(7)
    mlflow.register_model(info.model_uri, name)
    client.set_registered_model_alias(name, "champion", "1")
    with protect(policy):
        for uri in ways(name, 1, info):
            with pytest.raises(SignatureMissing, match="publish"):
                answer(uri)


def test_a_strangers_signature_and_a_broken_one_are_refused(
    name: str, logged: Any, policy: TrustPolicy, client: Any
) -> None:
    publish(name, logged(7).model_uri, signer=Signer.generate("p256"))
    with protect(policy), pytest.raises(UntrustedSigner):
        answer(f"models:/{name}/1")
    client.set_model_version_tag(name, "1", BUNDLE, "{}")
    with protect(policy), pytest.raises(MalformedBundle):
        answer(f"models:/{name}/1")


def test_an_older_versions_files_and_signature_do_not_pass_for_a_newer_one(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    old, new = logged(1), logged(2)
    publish(name, old.model_uri, signer=signer)
    publish(name, new.model_uri, signer=signer)
    shutil.rmtree(files(client, new))
    shutil.copytree(files(client, old), files(client, new))
    tag = client.get_model_version(name, "1").tags[BUNDLE]
    client.set_model_version_tag(name, "2", BUNDLE, tag)
    with protect(policy), pytest.raises(DigestMismatch, match="version 1"):
        answer(f"models:/{name}/2")


def test_another_models_files_and_signature_do_not_pass(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    publish(f"{name}-other", logged(1).model_uri, signer=signer)
    source = client.get_model_version(f"{name}-other", "1").source
    tag = client.get_model_version(f"{name}-other", "1").tags[BUNDLE]
    client.create_registered_model(name)
    client.create_model_version(name, source, tags={BUNDLE: tag})
    with protect(policy), pytest.raises(DigestMismatch):
        answer(f"models:/{name}/1")


def test_a_floor_refuses_an_alias_that_was_moved_back(
    name: str, logged: Any, signer: Signer, client: Any
) -> None:
    for number in (1, 2):
        publish(name, logged(number).model_uri, signer=signer)
    client.set_registered_model_alias(name, "champion", "1")
    policy = TrustPolicy(keys=[signer.public_key], floor={name: 2})
    with protect(policy), pytest.raises(RollbackRefused):
        answer(f"models:/{name}@champion")


def test_what_is_edited_after_the_check_is_not_loaded(  # noqa: PLR0917 - fixtures
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any, monkeypatch: Any
) -> None:
    from mlsecops.integrations.mlflow import protection as room  # noqa: PLC0415 - its function is replaced

    info = logged(7)
    publish(name, info.model_uri, signer=signer)
    checked = room.require_signed

    def slow(*arguments: Any) -> Any:
        verified = checked(*arguments)
        edit(files(client, info))
        return verified

    monkeypatch.setattr(room, "require_signed", slow)
    with protect(policy):
        assert answer(f"models:/{name}/1") == 7


def test_promotion_of_an_edited_version_leaves_the_alias(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any
) -> None:
    infos = [logged(number) for number in (1, 2)]
    for info in infos:
        publish(name, info.model_uri, signer=signer)
    promote(name, 1, "champion", policy=policy)
    edit(files(client, infos[1]))
    with pytest.raises(DigestMismatch):
        promote(name, 2, "champion", policy=policy)
    with pytest.raises(RegistryError):
        promote(name, 9, "champion", policy=policy)
    assert client.get_model_version_by_alias(name, "champion").version == 1


def test_rollback_passes_over_versions_that_do_not_verify(
    name: str, logged: Any, signer: Signer, client: Any
) -> None:
    infos = [logged(number) for number in (1, 2, 3, 4)]
    digests = [publish(name, info.model_uri, signer=signer).digest for info in infos]
    edit(files(client, infos[2]))
    policy = TrustPolicy(keys=[signer.public_key], revoked=[str(digests[1])])
    promote(name, 4, "champion", policy=policy)
    assert rollback(name, "champion", policy=policy) == 1
    assert client.get_model_version_by_alias(name, "champion").version == 1
    with pytest.raises(RegistryError, match="no older version"):
        rollback(name, "champion", policy=policy)
    with pytest.raises(RegistryError):
        rollback(name, "nowhere", policy=policy)


def test_a_model_among_a_runs_own_files_is_refused_and_other_files_are_not(  # noqa: PLR0917 - fixtures
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, client: Any, tmp_path: Path
) -> None:
    info = logged(7)
    publish(name, info.model_uri, signer=signer)
    (tmp_path / "notes.txt").write_text("fine")
    client.log_artifact(info.run_id, str(tmp_path / "notes.txt"), "texts")
    evil = tmp_path / "evil"
    shutil.copytree(files(client, info), evil)
    edit(evil)
    client.log_artifacts(info.run_id, str(evil), "evil")
    client.log_artifacts(info.run_id, str(evil), "model")  # next to the logged model of that name
    with protect(policy):
        with pytest.raises(SignatureMissing):
            answer(f"runs:/{info.run_id}/evil")
        assert answer(f"runs:/{info.run_id}/model") == 7
        text = mlflow.artifacts.load_text(f"runs:/{info.run_id}/texts/notes.txt")
    assert text == "fine"


def test_a_part_of_a_model_and_a_place_of_ones_own(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy, tmp_path: Path
) -> None:
    publish(name, logged(7).model_uri, signer=signer)
    fetch = mlflow.artifacts.download_artifacts
    with protect(policy):
        part = Path(fetch(f"models:/{name}/1/MLmodel"))
        whole = Path(fetch(f"models:/{name}/1", dst_path=str(tmp_path)))
        with pytest.raises((UsageError, mlflow.MlflowException)):
            fetch(f"models:/{name}/1/../../secret")
    assert part.name == "MLmodel"
    assert part.read_bytes() == (whole / "MLmodel").read_bytes()
    assert whole == tmp_path


def test_protection_ends_with_its_block_and_does_not_hinder_logging(
    name: str, logged: Any, signer: Signer, policy: TrustPolicy
) -> None:
    with protect(TrustPolicy()), protect(policy):
        info = logged(7)
        publish(name, info.model_uri, signer=signer)
        assert answer(f"models:/{name}/1") == 7
    unsigned = logged(8)
    assert answer(unsigned.model_uri) == 8
