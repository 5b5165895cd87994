"""Files that are not what their format says: each refusal by its own message."""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import pytest

from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.loading import Limits, scan, scanner
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.formats.tables.ggml import _require_whisper
from mlsecops.loading.formats.template_values import Values
from mlsecops.loading.formats.yaml_nodes import parse_yaml
from mlsecops.loading.snapshot import Source
from tests.attackers import engine_files, model_files, model_folders
from tests.attackers.loading import safetensors_bytes, tensor
from tests.attackers.model_files import field, gguf_text, onnx, outside, torch_zip, zipped_names

pack = struct.pack


def source(data: bytes) -> Source:
    return Source(name="f", path="", size=len(data), content=data)


def examine(place: str, data: bytes, limits: Limits) -> object:
    """Call a scanner: `module:function` below the formats."""
    module, _, function = place.partition(":")
    scanner: Callable[..., object] = getattr(
        import_module(f"mlsecops.loading.formats.{module}"), f"examine_{function}"
    )
    taken = (source(data), limits)
    return scanner(*taken) if module in {"safetensors", "gguf"} else scanner(*taken, frozenset())


CT = pack("<IH4x", 6, 0)
FASTTEXT = pack("<ii12id", 793_712_314, 11, *[1] * 12, 0.0)
R = b"X\n" + pack(">i8x", 2)
MXNET = pack("<QQQIii", 274, 0, 1, 0xF993FAC9, 0, 1)
ARRAYS = pack("<I", 9) + pack("<IQ", 9, 1) * 5  # GGUF: an array of one array of one array …
MALFORMED = [
    ("tables.ctranslate2:ctranslate2", CT + pack("<I", 9), "expected 9 variables"),
    ("tables.ctranslate2:ctranslate2", CT + pack("<IHcB40x", 1, 1, b"w", 200), "at most 8 dim"),
    (
        "tables.ctranslate2:ctranslate2",
        CT + pack("<IHcBIBI9x", 1, 1, b"w", 1, 2, 0, 4),
        "a variable of 4 bytes",
    ),
    (
        "tables.ctranslate2:ctranslate2",
        CT + pack("<IIHcHc", 0, 1, 1, b"a", 1, b"b"),
        "an alias of a variable, got 'b'",
    ),
    ("tables.msgpack:msgpack", b"\x9f", "at most 0 values, got 15"),
    ("tables.msgpack:msgpack", b"\xc1", "a value of MessagePack, got byte 0xc1"),
    ("tables.ocdbt:ocdbt", pack("<4xQ", 5), "12 bytes, as the file has, got 5"),
    ("tables.rds:rds", R + pack(">I", 2), "2 objects and the file ends"),
    ("tables.vectors:fasttext", FASTTEXT + pack("<iiiqq", 3, 1, 1, 0, 0), "labels add up"),
    (
        "tables.vectors:fasttext",
        FASTTEXT + pack("<iiiqq?qq", 0, 0, 0, 0, 0, False, -1, 1),  # noqa: FBT003 - packed
        "a matrix of some rows and columns",
    ),
    ("tables.vectors:word2vec", b"9 9\n", "9 rows of 9 numbers do not fit"),
    ("tables.vectors:word2vec", b"0 1\nxx", "expected the end of the file"),
    ("tables.weights:paddle_weights", pack("<IQ", 1, 0), "a tensor of version 0"),
    ("tables.weights:paddle_weights", pack("<IQI", 0, 0, 1), "a tensor of version 0"),
    ("tables.weights:mxnet_weights", pack("<QQQ", 0, 0, 9), "expected 9 arrays"),
    ("tables.weights:mxnet_weights", MXNET + pack("<q", -1), "expected a shape"),
    ("trees.lightgbm:lightgbm", b"tree\nend of trees\n", "expected max_feature_idx before"),
    ("trees.lightgbm:lightgbm", b"tree\nmax_feature_idx=1\n", "expected 'end of trees'"),
    ("trees.catboost:catboost", b"CBM1" + pack("<I", 99), "a core of 99 bytes in 8"),
    ("engines.openvino:openvino", engine_files.openvino('offset="x" size="16"'),
     "expected numbers, got 'x'"),
    ("trees.xgboost:xgboost_json", b"{}", "expected a model as XGBoost writes it"),
    ("trees.xgboost:xgboost_ubj", b"?", "a marker of UBJSON, got b'\\?'"),
    ("trees.xgboost:xgboost_ubj", b"{U\1aZU\1aZ}", "unique keys, got 'a' twice"),
    ("safetensors:safetensors", safetensors_bytes({"a": {}}, b""), "no dtype, shape and data_"),
    (
        "safetensors:safetensors",
        safetensors_bytes({"a": {**tensor(0, 1), "dtype": 3}}, b"1"),
        "dtype must be text, shape and offsets numbers",
    ),
    ("onnx:onnx", onnx(tensor=field(1, 2**64 - 1) + field(2, 1)), "has a negative dimension"),
    ("onnx:onnx", onnx(tensor=outside("a", offset="x")), "expected numbers for its place"),
    ("onnx:onnx", onnx(tensor=outside("a", length="99")), "takes 99 bytes at 0"),
    ("tflite:tflite", model_folders.tflite(shape=(-4,)), "a tensor with a negative dimension"),
    ("gguf:gguf", b"GGUF" + pack("<IQQ", 3, 0, 2) + (gguf_text("a") + pack("<IB", 0, 0)) * 2,
     "unique keys, got 'a' twice"),
    ("gguf:gguf", model_files.gguf({"a": pack("<IIQ", 9, 8, 1 << 20)}), "an array that fits"),
    ("pickles:pickle", b"\x80\x02\x80\x02N.", "PROTO inside the pickle"),
    ("pickles:torch", torch_zip(b"\x80\x02N.x"), "bytes after the pickle's end"),
    ("pickles:torch", zipped_names({"m/version": b"3\n"}), "no data.pkl under that exact name"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "data", "message"), MALFORMED)
def test_a_file_that_breaks_its_format_is_named(place: str, data: bytes, message: str) -> None:
    with pytest.raises(FormatRefused, match=message):
        examine(place, data, Limits())


@pytest.mark.parametrize(
    ("data", "message"),
    [(pack("<ii", 0, 1), "filters of a usual size"), (pack("<ii4xi", 1, 1, -1), "expected tokens")],
)
def test_a_model_of_whisper_that_breaks_its_format_is_named(data: bytes, message: str) -> None:
    import io  # noqa: PLC0415 - here only

    whole = bytes(44) + data
    cursor = Cursor(io.BytesIO(whole), len(whole), where="f", limits=Limits())
    with pytest.raises(FormatRefused, match=message):
        _require_whisper(cursor, Limits(), "f")


@pytest.mark.parametrize(
    ("place", "data", "limits", "message"),
    [
        ("trees.xgboost:xgboost_ubj", b"[" * 9, Limits(depth=2), "too many values, or nested"),
        ("tables.msgpack:msgpack", b"\x91" * 9, Limits(depth=2), "too many values, or nested"),
        ("tables.rds:rds", R + pack(">III", 2, 254, 254), Limits(opcodes=1), "over 1 objects"),
        ("gguf:gguf", model_files.gguf({"a": ARRAYS}), Limits(depth=1), "too many or too deep"),
    ],
)
def test_a_file_that_takes_too_much_is_named(
    place: str, data: bytes, limits: Limits, message: str
) -> None:
    with pytest.raises(LimitExceeded, match=message):
        examine(place, data, limits)


def test_a_long_line_or_text_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsecops.loading.formats.trees.lightgbm._LONGEST", 9)
    with pytest.raises(FormatRefused, match="a line of more than 9 bytes"):
        examine("trees.lightgbm:lightgbm", b"tree\n" + b"x" * 10, Limits())
    pytest.importorskip("yaml")
    for name in ("_FAST", "_SLOW"):
        monkeypatch.setattr(f"mlsecops.loading.formats.yaml_nodes.{name}", 9)
    with pytest.raises(LimitExceeded, match="10 characters of YAML: expected at most 9"):
        parse_yaml("a: " + "1" * 7, what="a.yaml", depth=9)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% set y = x" + "|upper" * 300 + " %}", "expressions nested deeper than 150"),
        ("".join(f"{{% set a{n} = a{n + 1} %}}" for n in range(40)) + "{% set a40 = self %}",
         "assignments take over 20 passes"),
    ],
)  # fmt: skip
def test_a_template_that_takes_too_much_is_named(template: str, message: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    nodes = [*jinja2.Environment().parse(template).find_all(jinja2.nodes.Node)]
    with pytest.raises(LimitExceeded, match=message):
        Values(nodes, "template")


def test_what_cannot_be_read_or_expands_too_far_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LimitExceeded, match="holds 999999999 bytes in 1: expected at most"):
        Limits().require_expansion(1, 999_999_999, where="f")
    pytest.importorskip("yaml")
    with pytest.raises(LimitExceeded, match="YAML nested deeper than 2"):
        parse_yaml("[[[[1]]]]", what="a.yaml", depth=2)
    (tmp_path / "m.pkl").write_bytes(b"N.")
    monkeypatch.setattr(scanner, "detect", Mock(side_effect=OSError(5, "broken disk")))
    with pytest.raises(UsageError, match=r"cannot read .*m\.pkl: broken disk"):
        scan(tmp_path / "m.pkl")
