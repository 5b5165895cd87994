import contextlib
import io
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading import Limits, scan
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.pickle_vm.walker import Walker
from tests.attackers import loading as attack


def walk(data: Any, **options: Any) -> Any:
    walker = Walker(
        allowed=pickle_globals(), limits=Limits(), artifact="a.pkl", where="pickle", **options
    )
    return walker.run(io.BytesIO(data))


def rules(data: Any) -> Any:
    return {finding.rule for finding in walk(data).findings}


@pytest.mark.parametrize("name", sorted(attack.pickles_that_run_code(pytest.__path__[0])))
def test_every_way_to_a_callable_is_refused_and_nothing_runs(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "ran"
    data = attack.pickles_that_run_code(trace)[name]
    file = tmp_path / "model.pkl"
    file.write_bytes(data)
    verdict = scan(file)
    assert verdict.refused
    assert any(f.rule in {"pickle-global", "pickle-call"} for f in verdict.findings)
    assert not trace.exists()
    if name != "OBJ of a class":  # map is lazy: it stands for OBJ alone
        pickle.loads(data)
        assert trace.exists(), "the attack itself does not work"


def test_an_extension_code_is_refused() -> None:
    assert "pickle-extension" in rules(attack.extension_pickle())


def test_an_opcode_across_a_frame_is_refused() -> None:
    assert "pickle-frame" in rules(attack.straddling_frame())


def test_setting_attributes_of_a_class_is_refused() -> None:
    assert "pickle-build" in rules(attack.class_poisoning())


def test_setting_items_of_a_tensor_is_refused() -> None:
    assert "pickle-container" in rules(attack.set_item_of_a_tensor())


def test_another_codec_than_latin1_is_refused() -> None:
    assert "pickle-call" in rules(attack.codec_lookup())


def test_a_persistent_id_is_refused_outside_torch() -> None:
    storage = attack.long_text("storage") + attack.imported("torch.FloatStorage")
    data = b"\x80\x02(" + storage + attack.long_text("0") + attack.long_text("cpu") + b"K\x01tQ."
    assert "pickle-persistent" in rules(data)
    assert not walk(data, persistent="allow").findings


def test_a_length_beyond_the_end_is_malformed() -> None:
    with pytest.raises(FormatRefused, match="not a whole pickle"):
        walk(attack.endless_length())


def test_a_second_protocol_opcode_is_malformed() -> None:
    with pytest.raises(FormatRefused, match="PROTO"):
        walk(b"\x80\x04\x80\x02N.")


def test_too_many_opcodes_are_refused() -> None:
    walker = Walker(allowed=(), limits=Limits(opcodes=100), artifact="a", where="pickle")
    with pytest.raises(LimitExceeded, match="opcodes"):
        walker.run(io.BytesIO(b"\x80\x04" + b"N0" * 60 + b"N."))


def test_a_name_like_an_allowed_one_is_refused() -> None:
    for name in ("OrderedDictX", "OrderedDict.__init__", "namedtuple"):
        data = b"\x80\x04" + attack.text("collections") + attack.text(name) + b"\x93."
        assert "pickle-global" in rules(data), name


def test_a_frame_is_checked_to_its_very_end() -> None:
    body = attack.text("abc") + b"."
    for length, refused in ((len(body), False), (len(body) - 2, True), (3, True)):
        data = b"\x80\x04\x95" + struct.pack("<Q", length) + body
        assert ("pickle-frame" in rules(data)) is refused, length


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers())
        | st.frozensets(st.integers())
        | st.builds(OrderedDict, st.dictionaries(st.text(), inner))
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(0, 5))
def test_plain_values_of_every_protocol_pass_whole(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    walked = walk(data)
    assert not walked.findings
    assert walked.end == len(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused_and_never_crash(data: Any) -> None:
    with contextlib.suppress(FormatRefused, LimitExceeded):
        assert walk(b"\x80\x04" + data).end > 0


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(0, 5), st.text("abcdefghij", min_size=1), st.data())
def test_a_callable_hidden_in_any_value_is_refused(
    value: Any, protocol: int, name: str, data: Any
) -> None:
    class Hidden:
        def __reduce__(self) -> Any:
            return eval, (name,)

    places = [[value, Hidden()], {"a": value, "b": Hidden()}, (Hidden(), value)]
    pickled = pickle.dumps(data.draw(st.sampled_from(places)), protocol=protocol)
    assert "pickle-global" in rules(pickled)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_containers_pass(protocol: int) -> None:
    value = {
        "a": np.arange(5.0),
        "b": np.float32(2),
        "c": Counter("aab"),
        "d": defaultdict(list, {"x": [1]}),
        "e": bytearray(b"x"),
        "f": np.random.RandomState(0).get_state()[0],
        "g": np.array(["x", "yy"]),
    }
    assert not walk(pickle.dumps(value, protocol=protocol)).findings


@pytest.mark.parametrize("name", sorted(attack.joblib_files_read_in_two_ways(Path("ran"))))
def test_a_joblib_file_read_in_two_ways_is_refused(tmp_path: Path, name: str) -> None:
    joblib = pytest.importorskip("joblib")
    trace, file = tmp_path / "ran", tmp_path / "m.joblib"
    file.write_bytes(attack.joblib_files_read_in_two_ways(trace)[name])
    assert scan(file).refused
    with contextlib.suppress(AttributeError):
        joblib.load(file)
    assert trace.exists(), "the attack itself does not work"


@pytest.mark.parametrize("name", sorted(attack.dtypes_that_lie()))
def test_a_dtype_that_is_not_what_it_says_is_refused(name: str) -> None:
    assert "pickle-build" in rules(attack.dtypes_that_lie()[name])


@pytest.mark.parametrize("name", sorted(attack.calls_under_another_name()))
def test_an_allowed_name_is_refused_for_what_it_is_called_with(name: str) -> None:
    found = rules(attack.calls_under_another_name()[name])
    assert found & {"pickle-call", "pickle-build"}
    assert "pickle-global" not in found


def test_a_pickle_that_ends_before_its_frame_is_refused() -> None:
    assert "pickle-frame" in rules(attack.stop_inside_frame())


@pytest.mark.parametrize("protocol", range(6))
def test_records_dates_and_object_arrays_pass(protocol: int) -> None:
    kinds: list[Any] = [
        [("a", "i4"), ("b", "O")],
        [("a", "f8", (3,)), ("b", [("c", "i1"), ("d", "U3")])],
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype({"names": ["a"], "formats": ["f8"], "titles": ["T"]}),
        "M8[D]", "S4", "U3", "O", ">i4", "V3", np.longdouble,
    ]  # fmt: skip
    value = [np.zeros(2, kind) for kind in kinds] + [np.rec.array([(1, 2.0)]), np.ma.array([1])]
    walked = walk(pickle.dumps(value, protocol=protocol))
    assert not walked.findings


def test_a_pickle_that_ends_with_a_mark_is_malformed(tmp_path: Path) -> None:
    file = tmp_path / "m.pkl"
    file.write_bytes(b"\x80\x02N(.")
    [finding] = scan(file).findings
    assert finding.rule == "malformed"
    assert "got a mark" in finding.message
