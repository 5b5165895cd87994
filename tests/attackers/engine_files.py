"""Files of other engines: honest ones from the published layouts, and hostile changes."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

from tests.attackers.model_files import calling, field, graph, onnx, tarred, torch_zip, zipped_names

Files = dict[str, bytes]
"""Name → bytes of the files of one folder; the first is what is scanned."""


def openvino(
    data: str = 'offset="0" size="16"', layer: str = 'type="Const" version="opset1"'
) -> bytes:
    """An OpenVINO network with one constant."""
    return (
        f'<?xml version="1.0"?>\n<net name="m" version="11"><layers><layer id="0" name="w" {layer}>'
        f'<data element_type="f32" shape="2,2" {data} /></layer></layers><edges/></net>'
    ).encode()


def coreml(*parts: bytes) -> bytes:
    """A Core ML specification."""
    return field(1, 5) + field(2, field(1, b"")) + b"".join(parts)


def blobs(*blocks: bytes, count: int | None = None, offset: int | None = None) -> bytes:
    """A Core ML weight file."""
    data = struct.pack("<II56x", len(blocks) if count is None else count, 2)
    for block in blocks:
        data += bytes(-len(data) % 64)
        start = len(data) + 64 if offset is None else offset
        data += struct.pack("<IIQQ40x", 0xDEADBEEF, 1, len(block), start) + block
    return data


def flat(identifier: bytes, build: Any) -> bytes:
    """A flat buffer whose root table `build` makes."""
    import flatbuffers  # noqa: PLC0415 - an optional package

    builder = flatbuffers.Builder(0)
    builder.Finish(build(builder), identifier)
    return bytes(builder.Output())


def table(builder: Any, **fields: Any) -> Any:
    """A table of offsets and 32-bit numbers: f0, f1, …."""
    numbers = {int(name[1:]): value for name, value in fields.items()}
    builder.StartObject(max(numbers, default=0) + 1)
    for number, value in numbers.items():
        builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def vector(builder: Any, items: list[Any]) -> Any:
    """A vector of tables."""
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


def executorch(operators: list[str], delegates: list[str] | None = None) -> bytes:
    """An ExecuTorch program of one plan."""

    def build(builder: Any) -> Any:
        named = [table(builder, f0=builder.CreateString(each)) for each in operators]
        compiled = [table(builder, f0=builder.CreateString(each)) for each in delegates or ()]
        found, parts = vector(builder, named), vector(builder, compiled)
        plan = table(builder, f0=builder.CreateString("forward"), f6=found, f7=parts)
        return table(builder, f1=vector(builder, [plan]))

    return flat(b"ET12", build)


def ort(domain: str, operator: str) -> bytes:
    """A model in ONNX Runtime's format with one node."""

    def build(builder: Any) -> Any:
        names = builder.CreateString(domain), builder.CreateString(operator)
        nodes = vector(builder, [table(builder, f2=names[0], f5=names[1])])
        return table(builder, f1=table(builder, f7=table(builder, f2=nodes)))

    return flat(b"ORTM", build)


def xgboost(**change: Any) -> dict[str, Any]:
    """An XGBoost model of one tree with a split."""
    tree = {
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "parents": [-1, 0, 0],
        "split_indices": [0, 0, 0], "split_conditions": [0.5, 1.0, 2.0], "default_left": [0, 0, 0],
        "tree_param": {"num_nodes": "3"},
    } | change  # fmt: skip
    booster = {"name": "gbtree", "model": {"trees": [tree], "tree_info": [0]}}
    settings = {"num_feature": "2", "num_class": "0", "num_target": "1", "base_score": "5E-1"}
    learner = {"learner_model_param": settings, "gradient_booster": booster,
               "objective": {"name": "reg:squarederror"}}  # fmt: skip
    return {"learner": learner, "version": [3, 2, 0]}


def ubj(value: Any) -> bytes:
    """A value in UBJSON, as XGBoost writes it."""
    if isinstance(value, dict):
        items = (b"L" + struct.pack(">q", len(k)) + k.encode() + ubj(v) for k, v in value.items())
        return b"{" + b"".join(items) + b"}"
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        head = b"[$l#L" + struct.pack(">q", len(value))
        return head + struct.pack(f">{len(value)}i", *value)
    if isinstance(value, list):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(ubj, value))
    if isinstance(value, float):
        return b"d" + struct.pack(">f", value)
    if isinstance(value, int):
        return b"l" + struct.pack(">i", value)
    return b"SL" + struct.pack(">q", len(value)) + value.encode()


def lightgbm(**change: str) -> bytes:
    """A LightGBM model of one tree with two splits."""
    tree = {
        "num_leaves": "3", "split_feature": "0 1", "threshold": "0.5 0.7", "left_child": "1 -1",
        "right_child": "-2 -3", "leaf_value": "1 2 3", "decision_type": "2 2",
    } | change  # fmt: skip
    lines = "\n".join(f"{key}={value}" for key, value in tree.items())
    head = "tree\nversion=v4\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=regression"
    return f"{head}\n\nTree=0\n{lines}\n\nend of trees\n".encode()


def catboost(sizes: list[int], splits: int, tail: bytes = b"") -> bytes:
    """A CatBoost model of trees with so many splits."""

    def numbers(builder: Any, values: list[int]) -> Any:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependInt32(value)
        return builder.EndVector()

    def build(builder: Any) -> Any:
        trees = table(builder, f1=numbers(builder, [0] * splits), f2=numbers(builder, sizes))
        return table(builder, f1=trees)

    import flatbuffers  # noqa: PLC0415 - an optional package

    builder = flatbuffers.Builder(0)
    builder.Finish(build(builder))
    core = bytes(builder.Output())
    return b"CBM1" + struct.pack("<I", len(core)) + core + tail


def ctranslate2(shape: tuple[int, ...] = (2, 2), size: int = 16, alias: str = "w") -> bytes:
    """A CTranslate2 model of one variable and an alias."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    variable = text("w") + struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
    data = struct.pack("<BI", 0, size) + bytes(16)
    head = struct.pack("<I", 6) + text("TransformerSpec") + struct.pack("<II", 7, 1)
    return head + variable + data + struct.pack("<I", 1) + text("v") + text(alias)


def fasttext(words: int = 1, rows: int = 1) -> bytes:
    """A fastText model."""
    head = struct.pack("<ii12id", 793712314, 12, 4, *[0] * 11, 0.0)
    dictionary = struct.pack("<iiiqq", words, words, 0, 1, 0) + b"word\0" + struct.pack("<qb", 1, 0)
    matrix = struct.pack("<Bqq", 0, rows, 4) + bytes(16)
    return head + dictionary + matrix + matrix


def whisper(kind: int = 0, tokens: int = 1) -> bytes:
    """A model of whisper.cpp with one tensor."""
    head = b"lmgg" + bytes(44) + struct.pack("<ii", 1, 2) + bytes(8)
    vocabulary = struct.pack("<i", tokens) + struct.pack("<I", 2) + b"hi"
    return (
        head
        + vocabulary
        + struct.pack("<iii", 1, 1, kind)
        + struct.pack("<I", 4)
        + b"w"
        + bytes(16)
    )


def rds(*objects: bytes) -> bytes:
    """Objects of R, uncompressed."""
    return b"X\n" + struct.pack(">iii", 2, 0x40300, 0x20300) + b"".join(objects)


R_NUMBER = struct.pack(">Ii", 14, 1) + struct.pack(">d", 1.0)
R_NIL = struct.pack(">I", 254)
R_SYMBOL = struct.pack(">I", 1) + struct.pack(">Ii", 9, 1) + b"f"


def paddle_tensor(size: int = 4) -> bytes:
    """A tensor of Paddle."""
    kind = field(1, 5) + field(2, 4)
    return struct.pack("<IQI", 0, 0, 0) + struct.pack("<i", len(kind)) + kind + bytes(4 * size)


def mxnet_array(count: int = 1) -> bytes:
    """An array of MXNet with its name."""
    array = struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, 2, 1, 0, 0) + bytes(8)
    return struct.pack("<QQQ", 0x112, 0, count) + array + struct.pack("<QQ", 1, 1) + b"w"


def paddle(*operators: str) -> bytes:
    """A Paddle program."""
    ops = b"".join(field(4, field(3, each)) for each in operators)
    return field(1, field(1, 0) + field(2, 0) + ops)


def mxnet(*operators: str, inner: Any = None) -> bytes:
    """A symbol of MXNet."""
    nodes: list[Any] = [
        {"op": each, "name": f"n{n}", "inputs": []} for n, each in enumerate(operators)
    ]
    if inner is not None:
        nodes[0]["subgraphs"] = [inner]
    return json.dumps({"nodes": nodes, "arg_nodes": [0]}).encode()


def caffe(*layers: str) -> bytes:
    """A Caffe network."""
    return field(1, "net") + b"".join(field(100, field(1, "l") + field(2, each)) for each in layers)


def context(path: str, *, embedded: bool = False, swapped: bool = False) -> bytes:
    """An ONNX node with compiled code, in it or in a file."""
    mode = field(5, field(1, "embed_mode") + field(3, int(embedded)) + field(20, 2))
    place = field(5, field(1, "ep_cache_context") + field(4, path) + field(20, 3))
    parts = place + mode if swapped else mode + place
    return onnx(node=field(4, "EPContext") + field(7, "com.microsoft") + parts)


PMML = b'<?xml version="1.0"?>\n<PMML version="4.4"><Header/><TreeModel/></PMML>'
ENTITY = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


def honest() -> dict[str, Files]:
    """Kind → files that pass, or are unchecked by name."""
    return {
        "openvino": {"m.xml": openvino(), "m.bin": bytes(16)},
        "coreml": {"m.mlmodel": coreml(field(500, field(1, field(1, "dense"))))},
        "coreml-weights": {"weight.bin": blobs(b"1234", b"12345678")},
        "executorch": {"m.pte": executorch(["aten::add", "dim_order_ops::_clone_dim_order"])},
        "ort": {"m.ort": ort("", "MatMul")},
        "xgboost": {"m.json": json.dumps(xgboost()).encode()},
        "xgboost-ubj": {"m.ubj": ubj(xgboost())},
        "lightgbm": {"m.txt": lightgbm()},
        "catboost": {"m.cbm": catboost([2, 1], 3)},
        "pmml": {"m.pmml": PMML},
        "fasttext": {"m.bin": fasttext()},
        "word2vec": {"w.bin": b"2 1\nab " + struct.pack("<f", 1.5) + b"\ncd \xff\xff\x7f\x3f\n"},
        "ctranslate2": {"model.bin": ctranslate2()},
        "ggml": {"ggml-tiny.bin": whisper()},
        "ocdbt": {"manifest.ocdbt": b"\x0c\xdb\x3a\x2a" + struct.pack("<Q", 72) + bytes(60)},
        "rds": {"m.rdata": rds(R_NUMBER)},
        "paddle-weights": {"m.pdiparams": paddle_tensor() + paddle_tensor()},
        "mxnet-weights": {"m.params": mxnet_array()},
        "msgpack": {"flax_model.msgpack": b"\x81\xa1w\xc7\x04\x01\x93\x91\x01\xc0"},
        "tensorflow-graph": {"frozen.pb": graph("Placeholder", "MatMul")},
        "tensorflow-meta-graph": {"m.meta": field(1, field(1, "v")) + field(2, graph("MatMul"))},
    }


def named_only() -> dict[str, Files]:
    """Kind → files that no scanner looks into, and that the scan names."""
    return {
        "tensorrt": {"m.engine": b"ptrt" + bytes(60)},
        "tensorrt older": {"m.plan": b"ftrt" + bytes(60)},
        "torch-mobile": {"m.ptl": b"\x10\0\0\0PTMF" + bytes(60)},
        "rknn": {"m.rknn": b"RKNN" + bytes(60)},
        "ncnn": {"m.param": b"7767517\n1 1\nInput data 0 1 data\n"},
        "matlab": {"m.mat": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(200)},
        "7z": {"m.7z": b"7z\xbc\xaf\x27\x1c" + bytes(60)},
        "rar": {"m.rar": b"Rar!\x1a\x07\x01\0" + bytes(60)},
        "zstandard": {"m.zst": b"\x28\xb5\x2f\xfd" + bytes(60)},
        "parquet": {"m.parquet": b"PAR1" + bytes(60)},
        "arrow": {"m.arrow": b"ARROW1\0\0" + bytes(60)},
        "sqlite": {"m.db": b"SQLite format 3\0" + bytes(60)},
        "paddle": {"m.pdmodel": paddle("matmul_v2", "relu")},
        "mxnet": {"m-symbol.json": mxnet("null", "FullyConnected")},
        "caffe": {"m.caffemodel": caffe("Convolution", "ReLU")},
        "xml": {"m.xml": b'<?xml version="1.0"?><data a="1"/>'},
        "executorch delegate": {"m.pte": executorch(["aten::add"], ["XnnpackBackend"])},
        "catboost part": {"m.cbm": catboost([1], 1, b"tail")},
        "onnx context": {"m.onnx": context("compiled bytes", embedded=True)},
        "ort context": {"m.ort": ort("com.microsoft", "EPContext")},
        "openvino extension": {"m.xml": openvino(layer='type="Tokenizer" version="extension"')},
        "llama adapter": {"adapter.bin": b"algg" + bytes(60)},
        "pmml extension": {"m.pmml": PMML.replace(b"<Header/>", b'<Extension name="x"/>')},
        "saver": {"m.meta": field(1, b"") + field(2, graph("SaveV2", "RestoreV2"))},
    }


def hostile() -> dict[str, Files]:
    """Trick → files that are refused."""
    return {**hostile_graphs(), **hostile_trees(), **hostile_references(), **hostile_code()}


def hostile_graphs() -> dict[str, Files]:
    """Operators that reach files, Python or a library that is not there."""
    nested = {"nodes": [{"op": "Custom", "name": "x", "inputs": []}]}
    custom = field(10, "Evil")
    network = field(1, field(500, custom))
    found: dict[str, Files] = {
        "executorch custom operator": {"m.pte": executorch(["evil::run"])},
        "executorch one among known": {"m.pte": executorch(["aten::add", "my_ops::shell"])},
        "ort custom domain": {"m.ort": ort("ai.onnx.contrib", "PyOp")},
        "ort unknown domain": {"m.ort": ort("acme", "Load")},
        "coreml custom model": {"m.mlmodel": coreml(field(555, custom))},
        "coreml custom layer": {"m.mlmodel": coreml(field(500, network))},
        "coreml custom layer of a classifier": {"m.mlmodel": coreml(field(403, network))},
        "coreml custom layer of a regressor": {"m.mlmodel": coreml(field(303, network))},
        "coreml in a pipeline": {
            "m.mlmodel": coreml(field(202, field(1, coreml(field(555, custom)))))
        },
        "coreml in a pipeline classifier": {
            "m.mlmodel": coreml(field(200, field(1, field(1, coreml(field(555, custom))))))
        },
        "coreml linked model": {"m.mlmodel": coreml(field(556, field(1, field(1, "other"))))},
        "mxnet inner graph": {"m-symbol.json": mxnet("_foreach", inner=nested)},
    }
    for name in ("py_func", "load_combine", "save", "run_program", "tensorrt_engine", "send_v2"):
        found[f"paddle {name}"] = {"m.pdmodel": paddle("relu", name)}
    for name in ("Custom", "_Native", "_NDArray", "TorchModule"):
        found[f"mxnet {name}"] = {"m-symbol.json": mxnet("null", name)}
    for name in ("Python", "HDF5Output", "ImageData", "HDF5Data"):
        found[f"caffe {name}"] = {"m.caffemodel": caffe("Convolution", name)}
    for name in (
        "ReadFile",
        "WriteFile",
        "PyFunc",
        "LoadLibrary",
        "Save",
        "PrintV2",
        "PyFuncStateless",
    ):
        found[f"frozen graph {name}"] = {"m.pb": graph("MatMul", name)}
        found[f"meta graph {name}"] = {"m.meta": field(1, b"") + field(2, graph("MatMul", name))}
    return found


def hostile_trees() -> dict[str, Files]:
    """Trees whose walks leave their arrays, or never end."""
    xgb: dict[str, dict[str, Any]] = {
        "child outside": {"left_children": [9, -1, -1]},
        "negative child": {"right_children": [-5, -1, -1]},
        "loop": {"left_children": [0, -1, -1]},
        "loop behind": {"left_children": [1, 0, -1], "right_children": [2, 2, -1]},
        "weights outside": {
            "left_children": [-1, -1, -1],
            "right_children": [7, -1, -1],
            "leaf_weights": [0.5],
        },
        "feature outside": {"split_indices": [9, 0, 0]},
        "negative feature": {"split_indices": [-1, 0, 0]},
        "short array": {"split_conditions": [0.5]},
        "more nodes": {"tree_param": {"num_nodes": "4000000"}},
    }
    lgb = {
        "child outside": {"left_child": "7 -1"}, "leaf outside": {"right_child": "-2 -9"},
        "loop": {"left_child": "0 -1"}, "feature outside": {"split_feature": "0 99"},
        "negative feature": {"split_feature": "-1 1"}, "short array": {"left_child": "1"},
        "more leaves": {"num_leaves": "9000000"},
    }  # fmt: skip
    found: dict[str, Files] = {}
    for name, change in xgb.items():
        found[f"xgboost {name}"] = {"m.json": json.dumps(xgboost(**change)).encode()}
        found[f"xgboost ubj {name}"] = {"m.ubj": ubj(xgboost(**change))}
    for name, texts in lgb.items():
        found[f"lightgbm {name}"] = {"m.txt": lightgbm(**texts)}
    found["catboost more splits"] = {"m.cbm": catboost([2, 9], 3)}
    found["catboost negative size"] = {"m.cbm": catboost([-1], 3)}
    return found


def hostile_references() -> dict[str, Files]:
    """References that leave the folder, or files that are not there."""
    shards = ("../../up.safetensors", "/etc/passwd", "gone.safetensors", "a\\..\\b")
    found: dict[str, Files] = {
        "openvino short weights": {"m.xml": openvino(), "m.bin": b"1"},
        "openvino no weights": {"m.xml": openvino()},
        "openvino far weights": {"m.xml": openvino(f'offset="{1 << 60}" size="8"'), "m.bin": b"1"},
        "openvino entity": {"m.xml": openvino().replace(b"<net", ENTITY + b"<net")},
        "pmml entity": {"m.pmml": PMML.replace(b"<PMML", ENTITY + b"<PMML")},
        "xml entity": {"m.xml": b'<?xml version="1.0"?>' + ENTITY + b"<x>&e;</x>"},
        "coreml path": {"m.mlmodel": coreml(field(502, field(1, "@model_path/../../up.bin")))},
        "package manifest": {"Manifest.json": json.dumps(
            {"itemInfoEntries": {"a": {"path": "../../up"}}}).encode()},
        "tensorflow.js shards": {"model.json": json.dumps(
            {"weightsManifest": [{"paths": ["../../up.bin"]}]}).encode()},
    }  # fmt: skip
    for name in shards:
        index = {"weight_map": {"w": name}}
        found[f"index {name}"] = {"model.safetensors.index.json": json.dumps(index).encode()}
    for name in ("/tmp/a.engine", "../a.engine", "gone.engine", "C:\\a.engine"):
        found[f"context {name}"] = {"m.onnx": context(name)}
        found[f"context {name}, mode last"] = {"m.onnx": context(name, swapped=True)}
    return found


def hostile_code() -> dict[str, Files]:
    """Code under a model's name, and pickles that no header announces."""
    code = calling("os.system", "true", protocol=0)
    stack = b"\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x85R."
    promise = struct.pack(">I", 0x405) + R_NIL + R_NUMBER + R_SYMBOL
    buffer = io.BytesIO(b"PE\0\0".rjust(68, b"\0"))
    windows = b"MZ" + bytes(58) + struct.pack("<I", 64) + buffer.getvalue()[64:]
    names = {
        "elf": b"\x7fELF\x02\x01\x01" + bytes(60), "windows": windows,
        "mach-o": b"\xcf\xfa\xed\xfe" + bytes(60), "java class": b"\xca\xfe\xba\xbe" + bytes(60),
        "script": b"#!/bin/sh\ntrue\n", "llamafile": b"MZqFpD='\n" + bytes(60),
        "java": b"\xac\xed\x00\x05sr\x00\x0bEvil", "wasm": b"\0asm\x01\0\0\0", "lua": b"\x1bLuaR\0",
        "bit code": b"BC\xc0\xde" + bytes(60), "archive of objects": b"!<arch>\nx/" + bytes(60),
        "dotnet": b"\x00\x01\x00\x00\x00" + b"\xff" * 4 + b"\x01" + bytes(7) + bytes(60),
        "python code": b"\xa7\x0d\r\n" + bytes(12) + b"\xe3" + bytes(40),
        "promise of R": rds(promise), "promise in a list of R": rds(
            struct.pack(">Ii", 19, 2) + R_NUMBER + promise),
    }  # fmt: skip
    found: dict[str, Files] = {
        f"{name} as weights": {"model.bin": data} for name, data in names.items()
    }
    for name in ("weights", "m.data", "m.bin", "w.params", "m.model", "m.cfg"):
        found[f"text pickle {name}"] = {name: code}
        found[f"stack pickle {name}"] = {name: stack}
    return {
        **found,
        "pickle far behind": {"w.dat": b"V" + b"a" * 70_000 + b"\n0" + code},
        "pickle in paddle's weights": {"m.pdparams": calling("os.system", "true", protocol=2)},
        "pickle in a shard": {"__0_0.distcp": torch_zip(b"\x80\x02N.") + torch_zip(stack)},
        "script in an archive of TorchServe": {"m.mar": zipped_names(
            {"MAR-INF/MANIFEST.json": b'{"model": {"handler": "run.py"}}', "run.py": b"1"})},
        "settings in an archive of NeMo": {"m.nemo": tarred(
            {"model_config.yaml": b"model:\n  _target_: os.system\n"})},
    }  # fmt: skip
