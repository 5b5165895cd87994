"""Hostile model files, one for each CVE and trick; each payload makes a folder at most."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.attackers import loading as old

MADE_UP = """
acme.plugins.activate weights_helper.restore model_zoo.hooks.on_load fastai_ext.boot
tokenizers_plus.fast.build my_company.ml.layers.Custom loader.run zz.qq a.b.c.d.e
setuptools_scm_extra.main ultra.nn.tasks.Model x.__init__ trainer.callbacks.Resume
sklearn.evil.Estimator sklearn.linear_model._logistic.Fit torch.nn.modules.linear.run
torch.utils.helpers.call numpy.core.run keras.src.tools.execute collections.Odd
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse
KNOWN = """
os.system posix.system nt.system os.popen os.execv subprocess.Popen subprocess.check_output
builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.getattr
builtins.setattr builtins.open builtins.breakpoint builtins.globals importlib.import_module
runpy.run_path runpy.run_module pip.main pip._internal.main ensurepip._run_pip webbrowser.open
pty.spawn shutil.rmtree socket.create_connection ctypes.CDLL
asyncio.unix_events._UnixSubprocessTransport._start bdb.Bdb.run pdb.run code.interact
cProfile.run profile.run trace.Trace.runctx timeit.timeit doctest.debug_script pydoc.pipepager
idlelib.autocomplete.AutoComplete.get_entity lib2to3.pgen2.grammar.Grammar
distutils.file_util.write_file logging.config._resolve operator.attrgetter operator.methodcaller
functools.partial functools.reduce types.FunctionType types.CodeType marshal.loads pickle.loads
_pickle.loads dill._dill._create_function cloudpickle.cloudpickle._make_function torch.load
torch.hub.load torch.jit.load torch.utils.collect_env.run torch.storage._load_from_bytes
joblib.load numpy.load numpy.testing._private.utils.runstring numpy.fromfile pandas.read_pickle
urllib.request.urlretrieve requests.get smtplib.SMTP aiohttp.request httplib.HTTPSConnection
sklearn.datasets.fetch_file keras.utils.get_file tensorflow.io.read_file zipimport.zipimporter
sys.exit signal.raise_signal multiprocessing.Process threading.Thread tempfile.mktemp
uuid._get_command_stdout imp.load_source commands.getoutput copyreg.add_extension
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse


def calling(name: str, argument: str, *, protocol: int = 4) -> bytes:
    """A pickle that calls a name with one text."""
    module, _, leaf = name.rpartition(".")
    if protocol < 2:
        return f"c{module}\n{leaf}\n(S'{argument}'\ntR.".encode()
    if protocol < 4:
        return b"\x80\x02" + old.imported(name) + old.long_text(argument) + b"\x85R."
    return (
        b"\x80\x04" + old.text(module) + old.text(leaf) + b"\x93" + old.text(argument) + b"\x85R."
    )


def torch_zip(data: bytes, **more: bytes) -> bytes:
    """A torch archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        for name, content in more.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torch_legacy(data: bytes) -> bytes:
    """A file as torch wrote it before 1.6, around a pickle."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(each, protocol=2) for each in head) + data + pickle.dumps([], 2)


def zipped_names(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(entries: dict[str, bytes], *, link: str = "") -> bytes:
    """A tar archive; with ``link`` its last entry is a symlink there."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info)
    return buffer.getvalue()


def object_array(data: bytes) -> bytes:
    """An npy file whose array is a pickle."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    return buffer.getvalue() + data


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    ".pkl": lambda data: data,
    ".bin": lambda data: data,
    ".pt": torch_zip,
    ".pth": torch_legacy,
    ".joblib": zlib.compress,
    ".pkl.gz": gzip.compress,
    ".npy": object_array,
    ".npz": lambda data: zipped_names({"x.npy": object_array(data)}),
    ".zip": lambda data: zipped_names({"model/weights.pkl": data}, compression=8),
    ".tar": lambda data: tarred({"model.pt": torch_zip(data)}),
    ".tar.xz": lambda data: lzma.compress(tarred({"weights": data})),
}


# Protocol buffers, for ONNX and SavedModels.


def varint(value: int) -> bytes:
    """A number as protocol buffers write it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx(*, node: bytes = b"", tensor: bytes = b"", more: bytes = b"") -> bytes:
    """An ONNX model of one node and one tensor."""
    node = node or field(4, "Identity")
    graph = field(1, node) + (field(5, tensor) if tensor else b"")
    return field(1, 10) + field(7, graph) + field(8, field(2, 20)) + more


def outside(location: str, **said: str) -> bytes:
    """A tensor of four bytes that lies in another file."""
    entries = {"location": location, **said}
    placed = b"".join(field(13, field(1, k) + field(2, v)) for k, v in entries.items())
    return field(1, 1) + field(2, 1) + field(8, "w") + placed + field(14, 1)


def nested_onnx(node: bytes) -> bytes:
    """A model whose node stands in a branch of another."""
    return field(4, "If") + field(5, field(1, "then_branch") + field(6, field(1, node)))


def onnx_files() -> dict[str, bytes]:
    """Models that read outside their folder, or run operators of unknown libraries."""
    places = ("../../etc/passwd", "/etc/passwd", "a/../../b", "..", "..\\b", "C:\\b", "C:b", "",
              "a\0b", "./../b", "//etc/passwd", "missing.data", ".")  # fmt: skip
    files = {f"CVE-2022-25882 {n}": onnx(tensor=outside(at)) for n, at in enumerate(places)}
    constant = field(4, "Constant") + field(5, field(1, "value") + field(5, outside("../b")))
    evil = field(4, "PyOp") + field(7, "ai.onnx.contrib")
    function = field(25, field(1, "f") + field(7, evil) + field(10, "own"))
    return files | {
        "CVE-2024-27318 attribute": onnx(node=constant),
        "custom operator": onnx(node=evil),
        "custom operator in a branch": onnx(node=nested_onnx(evil)),
        "custom operator in a function": onnx(more=function),
        "custom operator in training": onnx(more=field(20, field(1, field(1, evil)))),
        "shape bomb": onnx(tensor=field(1, 1 << 40) + field(2, 1) + field(9, b"1234")),
        "negative shape": onnx(tensor=field(1, (1 << 64) - 1) + field(2, 1) + field(9, b"")),
        "external length": onnx(tensor=outside("a", length="99")),
        "external offset": onnx(tensor=outside("a", offset="-4")),
        "breaks off": onnx()[:-2] + b"\x7f",
    }


def graph(*operations: str, more: bytes = b"") -> bytes:
    """A GraphDef of operations."""
    nodes = (field(1, field(1, f"n{n}") + field(2, op)) for n, op in enumerate(operations))
    return b"".join(nodes) + more


def saved_model(graph_def: bytes, more: bytes = b"") -> bytes:
    """A SavedModel around a GraphDef."""
    return field(1, 1) + field(2, field(2, graph_def) + more)


def library(name: str, *operations: str) -> bytes:
    """A GraphDef's library of one function."""
    nodes = (field(3, field(1, f"n{n}") + field(2, op)) for n, op in enumerate(operations))
    return field(2, field(1, field(1, field(1, name)) + b"".join(nodes)))


def with_attribute(value: bytes, op: str = "Const") -> bytes:
    """A GraphDef of one operation with one attribute."""
    entry = field(1, "value") + field(2, value)
    return field(1, field(1, "n") + field(2, op) + field(5, entry))


FILE_OPERATIONS = ("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "SaveV2", "RestoreV2",
                   "MatchingFiles", "PrintV2", "ImmutableConst", "DebugIdentity", "RpcCall",
                   "TFRecordDataset", "InitializeTableFromTextFileV2", "LoadDataset",
                   "GenerateVocabRemapping", "MyCustomOp")  # fmt: skip


def saved_models() -> dict[str, bytes]:
    """SavedModels that run operations on files, in each place that a graph can stand in."""
    inner = graph("ReadFile")
    call = field(10, field(1, "__inference__traced_save_1"))
    lambdas = json.dumps({"class_name": "Lambda", "config": {}})
    metadata = field(7, field(1, field(4, field(1, "_tf_keras_layer") + field(3, lambdas))))
    saver = library("__inference__traced_save_1", "SaveV2")
    renamed = field(
        2,
        field(
            1,
            field(1, field(1, "plain"))
            + field(1, field(1, "__inference__traced_save_1"))
            + field(3, field(1, "n") + field(2, "SaveV2")),
        ),
    )
    output = field(1, "y") + field(2, field(1, "s:0"))
    signature = field(5, field(1, "serve") + field(2, field(2, output)))
    named = field(1, field(1, "s") + field(2, "StatefulPartitionedCall") + field(5, field(2, call)))
    return (
        {op: saved_model(graph("Const", op)) for op in FILE_OPERATIONS}
        | {f"{op} in a function": saved_model(graph(more=library("f", op)))
           for op in FILE_OPERATIONS}
        | {
            "in a text attribute": saved_model(with_attribute(field(2, inner))),
            "in a constant": saved_model(with_attribute(field(8, field(1, 7) + field(8, inner)))),
            "in a graph with an unknown field": saved_model(
                with_attribute(field(2, inner + field(99, "x")))
            ),
            "in a graph with a group": saved_model(
                with_attribute(field(2, inner + b"\xbb\x06" + field(1, "x") + b"\xbc\x06"))
            ),
            "function of an operation's name": saved_model(
                graph("ReadFile", more=library("ReadFile", "Const"))
            ),
            "function of two names": saved_model(
                with_attribute(call, "PartitionedCall") + renamed
            ),
            "two graphs": field(1, 1) + field(
                2, field(2, with_attribute(call, "PartitionedCall")) + field(2, saver)
            ),
            "in a list": saved_model(with_attribute(field(1, field(2, inner)))),
            "in a constant of a nested graph": saved_model(
                with_attribute(field(2, with_attribute(field(8, field(8, inner)))))
            ),
            "in a nested library": saved_model(
                with_attribute(field(2, graph(more=library("g", "WriteFile"))))
            ),
            "writes while it restores": saved_model(
                graph(more=library("__inference__traced_restore_2", "SaveV2"))
            ),
            "calls the saver": saved_model(with_attribute(call, "PartitionedCall") + saver),
            "answers with the saver": saved_model(
                named + saver, field(3, field(2, "s:0")) + signature
            ),
            "asset outside": saved_model(graph("Const"), field(6, field(2, "../../etc/passwd"))),
            "Lambda in metadata": saved_model(graph("Const"), metadata),
        }
    )  # fmt: skip


def gguf(keys: dict[str, bytes] | None = None, *, tensors: bytes = b"", count: int = 0) -> bytes:
    """A GGUF file; values of keys come encoded, with their type."""
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(keys or {}))
    for key, value in (keys or {}).items():
        head += gguf_text(key) + value
    head += tensors
    return head + bytes(-len(head) % 32) + bytes(64)


def gguf_text(value: str) -> bytes:
    """A text with its length."""
    return struct.pack("<Q", len(value)) + value.encode()


def gguf_tensor(name: str, shape: list[int], *, kind: int = 0, offset: int = 0) -> bytes:
    """A tensor's entry."""
    told = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return gguf_text(name) + told


def gguf_files() -> dict[str, bytes]:
    """GGUF files whose templates reach out, or whose headers lie."""
    reach = "{{ x.__class__.__base__.__subclasses__() }}"
    template = struct.pack("<I", 8) + gguf_text(reach)
    deep = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 200 + struct.pack("<IQ", 0, 0)
    one = gguf_tensor("w", [4])
    return {
        "CVE-2024-34359": gguf({"tokenizer.chat_template": template}),
        "named template": gguf({"tokenizer.chat_template.tool": template}),
        "deep arrays": gguf({"a": deep}),
        "long array": gguf({"a": struct.pack("<IIQ", 9, 8, 1 << 60)}),
        "long numbers": gguf({"a": struct.pack("<IIQ", 9, 0, 1 << 60)}),
        "long text": gguf({"a": struct.pack("<IQ", 8, 1 << 60)}),
        "unknown type": gguf({"a": struct.pack("<I", 99)}),
        "many keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        "many tensors": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        "old version": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        "overlap": gguf(tensors=one + gguf_tensor("v", [4]), count=2),
        "outside": gguf(tensors=gguf_tensor("w", [4], offset=1 << 40), count=1),
        "shape bomb": gguf(tensors=gguf_tensor("w", [1 << 31, 1 << 31, 1 << 31]), count=1),
        "half a block": gguf(tensors=gguf_tensor("w", [3], kind=2), count=1),
        "unaligned": gguf(tensors=gguf_tensor("w", [4], offset=3), count=1),
        "one name": gguf(tensors=one + gguf_tensor("w", [4], offset=32), count=2),
        "alignment": gguf({"general.alignment": struct.pack("<II", 4, 3)}),
    }


def skops_file(node: dict[str, Any], **entries: bytes) -> bytes:
    """A skops archive around a schema."""
    named = {name.replace("_npy", ".npy"): data for name, data in entries.items()}
    return zipped_names({"schema.json": json.dumps(node).encode(), **named})


def skops_node(loader: str, name: str, content: Any = None) -> dict[str, Any]:
    """A node of a schema."""
    module, _, leaf = name.rpartition(".")
    said = {"__class__": leaf, "__module__": module, "__loader__": loader}
    return {**said, "content": content, "__id__": 1}


def skops_files() -> dict[str, bytes]:
    """Archives that build unknown classes, or known ones by loaders that reach attributes."""
    known = skops_node("ObjectNode", "sklearn.linear_model._logistic.LogisticRegression")
    calls = {name: skops_node("FunctionNode", name) for name in (*MADE_UP[:6], *KNOWN[:10])}
    nodes = {
        "CVE-2025-54412": skops_node("OperatorFuncNode", "sklearn.svm._classes.SVC"),
        "CVE-2025-54413": skops_node("MethodNode", "builtins.dict", {"obj": known, "func": "x"}),
        "unknown loader": skops_node("EvalNode", "builtins.dict"),
        "object": skops_node("ObjectNode", "os.system"),
        "type": skops_node("TypeNode", "subprocess.Popen"),
        "reduce": skops_node("ConstructorFromReduceNode", "builtins.eval"),
        "partial": skops_node("PartialNode", "functools.partial", {"func": calls["os.system"]}),
        "hidden deep": skops_node("DictNode", "builtins.dict", [{"a": [calls["os.popen"]]}]),
        "no class": {"__loader__": "ObjectNode"},
    }
    files = {name: skops_file(node) for name, node in {**calls, **nodes}.items()}
    array = object_array(calling("os.mkdir", "never"))
    return files | {
        "CVE-2025-54886 pickle": calling("os.mkdir", "never"),
        "pickled array": skops_file(known, x_npy=array),
        "no JSON": zipped_names({"schema.json": b"{"}),
    }
