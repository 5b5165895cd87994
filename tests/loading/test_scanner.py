import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.loading import Limits, scan
from tests.attackers import loading as attack

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.fixture
def state() -> Any:
    return {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}


@pytest.fixture
def archive(tmp_path: Path, state: Any) -> Path:
    file = tmp_path / "model.pt"
    torch.save(state, file)
    return file


def rules(file: Path, **options: Any) -> Any:
    verdict = scan(file, **options)
    grave = [f for f in verdict.findings if f.severity.label in {"high", "critical"}]
    assert verdict.refused is bool(grave)
    return {finding.rule for finding in verdict.findings}


def test_real_files_of_every_format_pass(tmp_path: Path, state: Any) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(2, 3)).sum().backward()
    optimizer.step()
    torch.save(network, tmp_path / "module.pt")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    checkpoint = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(checkpoint, tmp_path / "run.ckpt")
    safetensors_torch.save_file(state, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4)), y=np.arange(3))
    np.save(tmp_path / "a.npy", np.zeros(3, np.float16))
    (tmp_path / "config.json").write_text('{"hidden": 4}')
    (tmp_path / "README.md").write_text("A model.")
    (tmp_path / "LICENSE").write_text("Apache")
    verdict = scan(tmp_path)
    assert verdict.format == "folder"
    assert verdict.findings == ()
    assert verdict.unchecked == ()


def test_scikit_learn_models_pass_as_pickle_and_joblib(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - an optional package
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - as above

    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 3
    models = [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=2),
        KNeighborsClassifier(algorithm="kd_tree"),
    ]
    for number, model in enumerate(models):
        joblib.dump(model.fit(x, y), tmp_path / f"{number}.joblib")
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(model))
    verdict = scan(tmp_path)
    assert verdict.findings == ()
    assert verdict.unchecked == ()


def test_the_verdict_reads_as_the_contract_says(tmp_path: Path) -> None:
    file = tmp_path / "m.pkl"
    file.write_bytes(attack.malicious_pickle(tmp_path / "ran"))
    value = scan(file).to_dict()
    assert json.loads(json.dumps(value)) == value
    assert set(value) == {"path", "format", "refused", "findings", "unchecked"}
    assert value["refused"] is True
    assert set(value["findings"][0]) == {"rule", "severity", "message", "where"}
    assert "posix.mkdir" in value["findings"][0]["message"]


def test_an_audited_name_is_allowed_by_its_exact_name(tmp_path: Path) -> None:
    file = tmp_path / "m.pkl"
    file.write_bytes(attack.malicious_pickle(tmp_path / "ran"))
    assert not scan(file, allow_globals=["posix.mkdir"]).refused
    assert scan(file, allow_globals=["posix", "posix.mkdirs", "os.mkdir"]).refused


def test_what_is_unknown_is_unchecked_and_never_clean(tmp_path: Path) -> None:
    for name in ("weights", "model.xyz"):
        file = tmp_path / name
        file.write_bytes(b"?" * 18)
        verdict = scan(file)
        assert not verdict.findings
        assert [item.what for item in verdict.unchecked] == [str(file)]


def test_a_path_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        scan(tmp_path / "none.pt")


def test_a_symlink_inside_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("/etc/passwd")
    assert "not-a-regular-file" in rules(tmp_path)


def test_a_torch_archive_with_another_pickle_is_refused(tmp_path: Path, archive: Path) -> None:
    attack.poisoned_torch(archive, tmp_path / "ran")
    assert "pickle-global" in rules(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["data.pkl", "DATA.PKL", "other.pkl"])
def test_a_second_pickle_under_any_name_is_refused(
    tmp_path: Path, archive: Path, name: str
) -> None:
    attack.second_pickle(archive, name, tmp_path / "ran")
    assert "malformed" in rules(archive)


@pytest.mark.parametrize("name", ["../up", "/absolute", "model/../../up", "back\\slash"])
def test_an_entry_that_leaves_the_archive_is_refused(archive: Path, name: str) -> None:
    attack.added_entry(archive, name)
    assert "archive-entry" in rules(archive)


def test_a_symlink_entry_is_refused(archive: Path) -> None:
    attack.added_entry(archive, "model/link", link=True)
    assert "archive-entry" in rules(archive)


@pytest.mark.parametrize("change", [attack.two_faced_header, attack.prefixed])
def test_an_archive_that_reads_two_ways_is_refused(archive: Path, change: Any) -> None:
    change(archive)
    assert "malformed" in rules(archive)


def test_bytes_after_an_archive_are_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"tail")
    assert "malformed" in rules(archive)


def test_torchscript_is_refused_unless_allowed_by_name(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(file)
    assert "code-format" in rules(file)
    allowed = scan(file, allow_globals=["torchscript"])
    assert not allowed.refused
    assert allowed.unchecked


def test_a_legacy_torch_pickle_is_walked(tmp_path: Path) -> None:
    file = tmp_path / "m.pth"
    torch.save({"w": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
    clean = file.read_bytes()
    assert not scan(file).refused
    file.write_bytes(clean.replace(b"ctorch._utils\n_rebuild_tensor_v2", b"cos\nsystem"))
    assert "pickle-global" in rules(file)


@pytest.mark.parametrize("name", sorted(attack.hostile_safetensors()))
def test_a_lying_safetensors_header_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(attack.hostile_safetensors()[name])
    assert rules(file) == {"malformed"}


def test_a_long_safetensors_header_is_over_the_limit(tmp_path: Path, state: Any) -> None:
    file = tmp_path / "m.safetensors"
    safetensors_torch.save_file(state, file)
    assert not rules(file)
    assert rules(file, limits=Limits(header_bytes=10)) == {"limit-exceeded"}
    assert rules(file, limits=Limits(tensors=1)) == {"limit-exceeded"}


def test_an_extension_that_disagrees_is_refused(tmp_path: Path) -> None:
    for name in ("m.safetensors", "m.npz", "m.keras", "README.md", "config.json"):
        file = tmp_path / name
        file.write_bytes(pickle.dumps({"harmless": 1}))
        assert rules(file) == {"malformed"}, name


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", o=objects)
    assert rules(tmp_path / "o.npy") == {"numpy-object-array"}
    assert rules(tmp_path / "o.npz") == {"numpy-object-array"}


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.zeros(10))
    file.write_bytes(file.read_bytes().replace(b"(10,)", b"(99,)"))
    assert rules(file) == {"limit-exceeded"}


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    attack.zip_bomb(tmp_path / "a.npz")
    assert rules(tmp_path / "a.npz") == {"limit-exceeded"}


def test_joblib_arrays_that_plain_pickle_would_run_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    file, trace = tmp_path / "m.joblib", tmp_path / "ran"
    attack.joblib_array_that_is_opcodes(file, trace)
    with file.open("rb") as stream:
        pickle.load(stream)
    assert trace.exists(), "the attack itself does not work"
    assert "pickle-global" in rules(file)


def test_an_ordinary_chat_template_is_information(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer_config.json"
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    file.write_text(json.dumps({"chat_template": template}))
    verdict = scan(file)
    assert [f.rule for f in verdict.findings] == ["chat-template"]
    assert not verdict.refused


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler._x }}",
        "{{ x|attr('a') }}",
        "{{ x['_private'] }}",
    ],
)
def test_a_template_that_reaches_for_internals_is_refused(tmp_path: Path, template: Any) -> None:
    for file, content in (
        (tmp_path / "tokenizer_config.json", json.dumps({"a": [{"chat_template": template}]})),
        (tmp_path / "chat_template.jinja", template),
    ):
        file.write_text(content)
        assert "chat-template-internals" in rules(file)


def test_a_second_directory_that_only_torch_finds_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    file, trace = tmp_path / "m.pt", tmp_path / "ran"
    torch.save({"w": torch.zeros(3)}, file)
    assert not scan(file).refused
    attack.two_directories(file, trace)
    verdict = scan(file)
    assert verdict.refused
    assert "two archives" in verdict.findings[0].message
    torch.load(file, weights_only=False)
    assert trace.exists(), "the attack itself does not work"


def test_bytes_that_no_entry_lists_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, x=np.zeros(3))
    assert not scan(file).refused
    attack.unlisted_bytes(file)
    with np.load(file) as loaded:
        assert loaded["x"].shape == (3,)
    assert "no entry lists" in scan(file).findings[0].message


@pytest.mark.parametrize(
    "template",
    [
        {"default": "{{ x.__class__ }}"},
        [{"name": "tool", "template": "{{ x.__class__ }}"}],
        r"{{ x['\x5f\x5fclass\x5f\x5f'] }}",
        "{% set a = '_' * 2 %}{{ x[a ~ 'class' ~ a] }}",
    ],
)
def test_a_template_among_others_or_in_disguise_is_refused(tmp_path: Path, template: Any) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({"chat_template": template}))
    assert "chat-template-internals" in {found.rule for found in scan(file).findings}


def test_settings_nested_too_deeply_count_as_unchecked(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"x":' * 150 + '{"auto_map": {}}' + "}" * 150)
    assert scan(file).unchecked


@pytest.mark.parametrize("name", ["", ".", "./", "/"])
def test_an_entry_that_names_nothing_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.zip"
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"x")
        archive.writestr(entry, b"")
    assert [found.rule for found in scan(path).findings] == ["archive-entry"]


def test_an_entry_that_is_marked_a_folder_is_refused(archive: Path) -> None:
    """Of such an entry torch's reader gives memory that nobody wrote, and Python's its bytes."""
    with zipfile.ZipFile(archive) as old:
        entries = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(archive, "w") as new:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0x10 if name.endswith("/data.pkl") else 0
            new.writestr(info, data)
    assert rules(archive) == {"archive-entry"}
