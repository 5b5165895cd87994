import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsecops.loading import scan
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.allowed.contracts import contracts
from mlsecops.loading.pickle_vm.argument_kinds import kinds
from mlsecops.loading.pickle_vm.call_rules import objection
from tests.attackers import pickle_calls as attack
from tests.ceilings import calls_in


def scanned(folder: Path, data: bytes, **options: Any) -> Any:
    file = folder / "model.pkl"
    file.write_bytes(data)
    return scan(file, **options)


def test_every_allowed_name_has_a_contract() -> None:
    assert set(contracts()) == pickle_globals()


@pytest.mark.parametrize("name", sorted(attack.calls_that_no_library_writes()))
def test_a_call_that_no_library_writes_is_refused(tmp_path: Path, name: str) -> None:
    verdict = scanned(tmp_path, attack.calls_that_no_library_writes()[name])
    assert verdict.refused
    assert {f.rule for f in verdict.findings} <= {"pickle-call", "pickle-build"}, verdict.findings


def test_a_name_that_the_caller_audited_may_be_called(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    data = attack.call("torch.nn.modules.linear.Linear", b"K\x02K\x02\x86")
    assert scanned(tmp_path, data).refused
    verdict = scanned(tmp_path, data, allow_globals=["torch.nn.modules.linear.Linear"])
    assert not verdict.refused
    assert [finding.rule for finding in verdict.findings] == ["allowed-by-name"]


def test_an_audited_name_takes_no_size_that_is_not_in_the_file(tmp_path: Path) -> None:
    data = attack.calls_that_no_library_writes()["bytes of a number"]
    assert scanned(tmp_path, data, allow_globals=["builtins.bytes"]).refused


def test_a_call_with_another_kind_of_number_is_unchecked(tmp_path: Path) -> None:
    data = attack.call("sklearn.linear_model._sgd_fast.Hinge", b"K\x01\x85")
    verdict = scanned(tmp_path, data)
    assert not verdict.refused
    assert "no library writes" in verdict.unchecked[0].why


def test_kinds_cost_the_same_for_shared_values_of_any_size() -> None:
    value: Any = (1, 2)
    for _ in range(60):
        value = (value, value)
    assert len(kinds((value, (1,) * 1_000_000))) < 2000


@pytest.mark.parametrize("name", sorted(attack.sparse_states_that_lie()))
def test_a_sparse_matrix_with_an_index_outside_is_refused(tmp_path: Path, name: str) -> None:
    require_refused(tmp_path, attack.sparse_states_that_lie()[name])


TREES = attack.tree_states_that_lie()


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_tree_that_leaves_its_arrays_is_refused(tmp_path: Path, name: str) -> None:
    require_refused(tmp_path, TREES[name])


@pytest.mark.parametrize("name", sorted(attack.other_states_that_lie()))
def test_a_compiled_state_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    require_refused(tmp_path, attack.other_states_that_lie()[name])


def require_refused(folder: Path, value: Any) -> None:
    joblib = pytest.importorskip("joblib")
    for protocol in (0, 2, 4, 5):
        verdict = scanned(folder, pickle.dumps(value, protocol))
        assert "pickle-state" in {finding.rule for finding in verdict.findings}, protocol
    for compress in (0, 3):
        joblib.dump(value, folder / "model.joblib", compress=compress)
        verdict = scan(folder / "model.joblib")
        assert "pickle-state" in {finding.rule for finding in verdict.findings}


@pytest.mark.parametrize(
    "name", ["a longer storage", "a longer tensor", "another key", "a step beyond"]
)
def test_a_tensor_beyond_what_is_stored_is_refused(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save(torch.ones(77), stream)
    file = tmp_path / "model.pt"
    file.write_bytes(stream.getvalue())
    assert not scan(file).refused
    file.write_bytes(attack.torch_files_that_lie(stream.getvalue())[name])
    verdict = scan(file)
    assert verdict.refused
    assert {f.rule for f in verdict.findings} <= {"pickle-call", "pickle-persistent"}


def test_a_legacy_file_with_storages_beyond_it_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    file = tmp_path / "model.pth"
    torch.save(torch.ones(77), file, _use_new_zipfile_serialization=False)
    assert not scan(file).refused
    data = file.read_bytes()
    file.write_bytes(data.replace(b"K\x4d", attack.MANY))
    assert scan(file).refused


def test_a_recurrent_layer_of_a_billion_layers_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.LSTM(2, 2)
    file = tmp_path / "model.pt"
    torch.save(layer, file)
    assert not scan(file).refused
    layer.num_layers = 10**9
    torch.save(layer, file)
    assert [finding.rule for finding in scan(file).findings] == ["pickle-state"]


def test_a_nested_tensor_is_unchecked(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), tmp_path / "n.pt")
    verdict = scan(tmp_path / "n.pt")
    assert not verdict.refused
    assert verdict.unchecked


@pytest.mark.parametrize(
    ("make", "count"), [(attack.shared_arrays, 100), (attack.shared_fields, 600)]
)
def test_values_that_are_shared_take_no_more_work_than_the_file(
    make: Callable[[int], bytes], count: int, tmp_path: Path
) -> None:
    scanned(tmp_path, make(10))  # the first scan imports
    few, many = (calls_in(scanned, tmp_path, make(size)) for size in (count, 2 * count))
    assert many < 2.2 * few


def test_a_rebuilding_call_inside_a_call_has_its_contract() -> None:
    from mlsecops.loading.pickle_vm.stack import Global  # noqa: PLC0415 - here only

    inner = Global("torch._utils._rebuild_meta_tensor_no_storage")
    tensor, state = Global("torch.Tensor"), attack_state()
    name = "torch._tensor._rebuild_from_type_v2"
    honest = (Global("torch.float32"), (2, 3), (3, 1), False)
    assert objection(name, "call", (inner, tensor, honest, state)) is None
    assert objection(name, "call", (inner, tensor, ("a",), state)) is not None


def attack_state() -> Any:
    from mlsecops.loading.pickle_vm.stack import Container  # noqa: PLC0415 - here only

    return Container("builtins.dict")
