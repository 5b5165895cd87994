"""Hostile model files that take a folder, a framework's layout or HDF5, and the whole corpus."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.attackers import loading as old
from tests.attackers import model_files as files

PLAIN = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d", "units": 2},
         "registered_name": None, "build_config": {"input_shape": [None, 3]}}  # fmt: skip


def keras_object(name: str, config: Any = None, **more: Any) -> dict[str, Any]:
    """A serialized object."""
    module, _, leaf = name.rpartition(".")
    said = {"module": module, "class_name": leaf, "config": config or {}, "registered_name": None}
    return said | more


def weights(change: Callable[[h5py.File], None] | None = None) -> bytes:
    """A weights file of one dense layer."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        stored = file.create_group("layers/dense/vars")
        stored["0"] = np.zeros((3, 2), np.float32)
        stored["1"] = np.zeros(2, np.float32)
        if change is not None:
            change(file)
    return buffer.getvalue()


def keras_file(*layers: dict[str, Any], change: Callable[[h5py.File], None] | None = None) -> bytes:
    """A ``.keras`` archive of layers."""
    model = keras_object("keras.Sequential", {"name": "s", "layers": [PLAIN, *layers]})
    return files.zipped_names(
        {
            "metadata.json": b'{"keras_version": "3.15.1"}',
            "config.json": json.dumps(model).encode(),
            "model.weights.h5": weights(change),
        }
    )


def whole_h5(*layers: dict[str, Any]) -> bytes:
    """A whole model as HDF5."""

    def add(file: h5py.File) -> None:
        model = keras_object("keras.Sequential", {"name": "s", "layers": [PLAIN, *layers]})
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = "3.15.1"

    return weights(add)


def endless_h5() -> bytes:
    """A whole model over which the HDF5 library never ends: an object of no size in its heap."""
    data = bytearray(whole_h5())
    first = data.index(b"GCOL") + 16
    (size,) = struct.unpack_from("<Q", data, first + 8)
    second = first + 16 + (size + 7) // 8 * 8
    data[second : second + 16] = bytes(16)
    return bytes(data)


def hostile_layers() -> dict[str, dict[str, Any]]:
    """Objects in a configuration that load code, files or other frameworks, or take all memory."""
    big, some = 10**9, {"input_shape": [None, 3]}
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}
    return {
        "CVE-2024-3660": keras_object("keras.layers.Lambda", {"function": code}),
        "CVE-2025-1550": keras_object("os.system", {"command": "true"}),
        "CVE-2025-8747": keras_object("keras.utils.get_file", {"fname": "x"}),
        "CVE-2025-9906": {"module": "keras.config", "class_name": "function",
                          "config": "enable_unsafe_deserialization", "registered_name": None},
        "CVE-2025-49655": keras_object("keras.layers.TorchModuleWrapper", {"module": "x"}),
        "CVE-2025-12058": keras_object("keras.layers.StringLookup", {"vocabulary": "/etc/passwd"}),
        "CVE-2026-1462": keras_object("keras.layers.TFSMLayer", {"filepath": "/tmp/x"}),
        "JaxLayer": keras_object("keras.layers.JaxLayer", {"call_fn": code}),
        "hidden in a wrapper": keras_object(
            "keras.layers.TimeDistributed", {"layer": keras_object("os.system")}),
        "unknown registered": keras_object("keras.layers.Dense", {}, registered_name="x>Y"),
        "deep": {"config": json.loads("[" * 300 + "]" * 300)},
        "CVE-2026-0897 dense": keras_object(
            "keras.layers.Dense", {"units": big}, build_config=some),
        "CVE-2026-0897 convolution": keras_object(
            "keras.layers.Conv2D", {"filters": big, "kernel_size": [3, 3]},
            build_config={"input_shape": [None, 8, 8, 3]}),
        "CVE-2026-0897 embedding": keras_object(
            "keras.layers.Embedding", {"input_dim": big, "output_dim": big}, build_config=some),
        "CVE-2026-0897 product": keras_object(
            "keras.layers.Dense", {"units": 50_000}, build_config={"input_shape": [None, 50_000]}),
        "CVE-2026-0897 without shapes": keras_object("keras.layers.LSTM", {"units": big}),
        "CVE-2026-0897 attention": keras_object(
            "keras.layers.MultiHeadAttention", {"num_heads": 10**5, "key_dim": 10**5}),
    }  # fmt: skip


def hostile_hdf5() -> dict[str, Callable[[h5py.File], None]]:
    """Changes to a weights file that reach outside it or declare what is not there."""

    def bomb(file: h5py.File) -> None:
        file.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")

    def external(file: h5py.File) -> None:
        file.create_dataset("out", (4,), "u1", external=[("/etc/passwd", 0, 4)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "u1")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
        file.create_virtual_dataset("virtual", layout)

    def objects(file: h5py.File) -> None:
        file.create_dataset("refs", (2,), h5py.ref_dtype)

    def deep(file: h5py.File) -> None:
        file.create_group("/".join("abc"[n % 3] for n in range(200)))

    def link(file: h5py.File) -> None:
        file["out"] = h5py.ExternalLink("/etc/other.h5", "/x")

    def soft(file: h5py.File) -> None:
        file["soft"] = h5py.SoftLink("/layers")

    def sequence(file: h5py.File) -> None:
        held = np.empty(1, h5py.vlen_dtype(np.int32))
        held[0] = np.arange(3, dtype=np.int32)
        file.attrs.create("s", held)

    def pointer(file: h5py.File) -> None:
        file["layers"].attrs.create("r", file["layers"].ref, dtype=h5py.ref_dtype)

    return {
        "sequences in an attribute": sequence, "reference in an attribute": pointer,
        "shape bomb": bomb, "CVE-2026-1669 external storage": external, "virtual": virtual,
        "references": objects, "deep": deep, "CVE-2026-1669 external link": link, "soft link": soft,
    }  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A flat buffer's table: a packed scalar, a child, or None for each field."""

    fields: tuple[Any, ...]


def flat(root: Table) -> bytes:
    """A flat buffer with TensorFlow Lite's identifier; parents stand before their children."""
    out = bytearray(b"\0\0\0\0TFL3")

    def emit(item: Any) -> int:
        out.extend(bytes(-len(out) % 8))
        if isinstance(item, bytes):
            at = len(out)
            out.extend(struct.pack("<I", len(item)) + item)
            return at
        children = item if isinstance(item, list) else item.fields
        if isinstance(item, list):
            at = start = len(out)
            out.extend(struct.pack("<I", len(item)))
            places = [start + 4 + 4 * n for n in range(len(item))]
        else:
            vtable, at = len(out), len(out) + (4 + 2 * len(children) + 3) // 4 * 4
            places = [at + 4 + 4 * n for n in range(len(children))]
            told = [
                0 if child is None else p - at for child, p in zip(children, places, strict=True)
            ]
            head = struct.pack(f"<2H{len(told)}H", 4 + 2 * len(told), 4 + 4 * len(told), *told)
            out.extend(head.ljust(at - vtable, b"\0") + struct.pack("<i", at - vtable))
        out.extend(bytes(4 * len(children)))
        for child, place in zip(children, places, strict=True):
            if isinstance(child, int):
                struct.pack_into("<i", out, place, child)
            elif child is not None:
                struct.pack_into("<I", out, place, emit(child) - place)
        return at

    struct.pack_into("<I", out, 0, emit(root))
    return bytes(out)


def tflite(
    *, custom: bytes | None = None, opcode: int = 0, tensor: int = 0, buffer: int = 0,
    shape: tuple[int, ...] = (1,), data: bytes = b"1234",
) -> bytes:  # fmt: skip
    """A TensorFlow Lite model of one operator and one tensor."""
    code = Table((None, custom, 1, 32 if custom else 0))
    dims = struct.pack(f"<{len(shape)}i", *shape)
    ints = struct.pack("<i", tensor)

    def numbers(packed: bytes) -> list[int]:
        return list(struct.unpack(f"<{len(packed) // 4}i", packed))

    held = Table((numbers(dims), None, buffer, b"w"))
    operator = Table((opcode, numbers(ints), numbers(ints)))
    graph = Table(([held], numbers(ints), numbers(ints), [operator], None))
    return flat(Table((3, [code], [graph], None, [Table((data,))])))


def tflite_files() -> dict[str, bytes]:
    """Models with foreign operators, and with indices that name nothing."""
    clean = tflite()
    return {
        "FlexWriteFile": tflite(custom=b"FlexWriteFile"),
        "FlexPyFunc": tflite(custom=b"FlexPyFunc"),
        "custom": tflite(custom=b"MyOwnOp"),
        "operator that is not there": tflite(opcode=7),
        "tensor that is not there": tflite(tensor=9),
        "negative tensor": tflite(tensor=-9),
        "buffer that is not there": tflite(buffer=5),
        "shape bomb": tflite(shape=(1 << 30, 1 << 30)),
        "negative shape": tflite(shape=(-4,)),
        "cut": clean[: len(clean) // 2],
        "root outside": struct.pack("<I", 1 << 31) + clean[4:],
    }


def pickle_files(trace: Path) -> dict[str, bytes]:
    """Pickles of every trick, and of each callable in each container in turn."""
    found: dict[str, bytes] = {}
    names = [*files.CONTAINERS]
    for number, name in enumerate((*files.MADE_UP, *files.KNOWN)):
        for protocol in (0, 2, 4):
            suffix = names[(number + protocol) % len(names)]
            data = files.calling(name, str(trace), protocol=protocol)
            found[f"{name}-{protocol}{suffix}"] = files.CONTAINERS[suffix](data)
    for name, data in old.pickles_that_run_code(trace).items():
        for suffix in (".pkl", ".pt", ".joblib"):
            found[f"{name}{suffix}"] = files.CONTAINERS[suffix](data)
    for kind in (old.joblib_files_read_in_two_ways(trace), old.dtypes_that_lie(),
                 old.calls_under_another_name()):  # fmt: skip
        found |= {f"{name}.pkl": data for name, data in kind.items()}
    single = {
        "extension code": old.extension_pickle(), "CPython-154848": old.straddling_frame(),
        "endless": old.endless_length(), "class poisoning": old.class_poisoning(),
        "CVE-2026-24747": old.set_item_of_a_tensor(), "codec": old.codec_lookup(),
        "stop in a frame": old.stop_inside_frame(), "second pickle": b"N." + files.calling(
            "os.mkdir", str(trace)), "cut": files.calling("os.mkdir", str(trace))[:-1],
    }  # fmt: skip
    found |= {f"{name}.pkl": data for name, data in single.items()}
    found["CVE-2025-1716 pip.pkl"] = files.calling("pip.main", "install")
    found["CVE-2025-10157 submodule.pkl"] = files.calling("asyncio.base_events.x", "y")
    found["CVE-2025-10155.bin"] = files.calling("os.mkdir", str(trace))
    return found


def archive_files(trace: Path) -> dict[str, bytes]:
    """Archives that leave their folder, read two ways, or hold what is hostile."""
    code = files.calling("os.mkdir", str(trace))
    inner = files.zipped_names({"w.pkl": code})
    for _ in range(3):
        inner = files.zipped_names({"next.zip": inner})
    entries = {f"{n}.pt": files.torch_zip(b"\x80\x02N.", **{place: b"x"}) for n, place in enumerate(
        ("../up", "/absolute", "archive/../../up", "archive\\up", "archive/data.pkl.bak",
         "ARCHIVE/DATA.PKL", "other/data.pkl", "archive/code.py", "archive/x.json"))}  # fmt: skip
    tars = {f"{n}.tar": files.tarred({place: b"x"}) for n, place in enumerate(
        ("../up", "/absolute", "a/../../up", "a\\b"))}  # fmt: skip
    flags = bytearray(files.zipped_names({"w.npy": b"x" * 50}))
    flags[6] |= 1  # CVE-2025-1945: the local header says encrypted, the directory does not
    crc = bytearray(files.torch_zip(code))
    crc[14] ^= 1  # CVE-2025-10156: a wrong checksum
    name = bytearray(files.torch_zip(code))
    at = name.index(b"archive/data.pkl")
    name[at : at + 16] = b"archive/data.txt"  # CVE-2025-1944: two names of one entry
    bomb = files.zipped_names({"x.npy": bytes(100_000_000)}, compression=zipfile.ZIP_DEFLATED)
    return entries | tars | {
        "CVE-2025-1945.zip": bytes(flags), "CVE-2025-10156.pt": bytes(crc),
        "CVE-2025-1944.pt": bytes(name), "bomb.zip": bomb, "nested.zip": inner,
        "CVE-2025-1889.pt": files.torch_zip(b"\x80\x02N.", **{"archive/config.p": code}),
        "CVE-2025-32434.pt": files.tarred({"storages": code, "tensors": code, "pickle": code}),
        "link.tar": files.tarred({"a": b"x"}, link="/etc/passwd"),
        "prefixed.zip": b"PK\x03\x04" + bytes(60) + files.zipped_names({"a.txt": b"x"}),
        "appended.pt": files.torch_zip(b"\x80\x02N.") + b"tail",
        "two streams.joblib": files.CONTAINERS[".joblib"](b"\x80\x02N.") + code,
    }  # fmt: skip


def code_files() -> dict[str, bytes]:
    """Formats that are code, and companions that are templates which reach out."""
    script = files.zipped_names({"m/data.pkl": b"\x80\x02N.", "m/code/__torch__.py": b"pass",
                                 "m/constants.pkl": b"\x80\x02N."})  # fmt: skip
    package = files.zipped_names({"m/archive_format": b"pt2", "m/models/model.json": b"{}"})
    reach = "{{ ''.__class__ }}"
    return {
        "torchscript.pt": script, "exported.pt2": package,
        "template.jinja": reach.encode(),
        "tokenizer_config.json": json.dumps({"chat_template": reach}).encode(),
    }  # fmt: skip


def corpus(folder: Path, trace: Path) -> list[Path]:
    """Write every hostile file, each in a folder of its own, and name them.

    Args:
        folder: Where.
        trace: The folder that a payload which runs would make.
    """
    wanted: dict[str, bytes] = {
        **pickle_files(trace),
        **archive_files(trace),
        **code_files(),
        **{f"{n}.safetensors": d for n, d in old.hostile_safetensors().items()},
        **{f"{n}.keras": keras_file(layer) for n, layer in hostile_layers().items()},
        **{f"weights {n}.keras": keras_file(change=c) for n, c in hostile_hdf5().items()},
        **{f"{n}.h5": weights(change) for n, change in hostile_hdf5().items()},
        **{f"CVE-2025-9905 {n}.h5": whole_h5(layer) for n, layer in hostile_layers().items()},
        **{f"{n}.onnx": d for n, d in files.onnx_files().items()},
        **{f"{n}.gguf": d for n, d in files.gguf_files().items()},
        **{f"{n}.skops": d for n, d in files.skops_files().items()},
        **{f"{n}.tflite": d for n, d in tflite_files().items()},
        **{f"{n}/saved_model.pb": d for n, d in files.saved_models().items()},
    }
    placed = []
    for number, (name, data) in enumerate(wanted.items()):
        place = folder / f"{number:03}" / name
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        placed.append(place)
    return placed + linked_tensors(folder)


def linked_tensors(folder: Path) -> list[Path]:
    """CVE-2026-27489: ONNX models whose tensors lie behind a symlink or a hard link."""
    outside = folder / "outside.bin"
    outside.write_bytes(b"1234")
    placed = []
    for kind, link in (("symlink", os.symlink), ("hard link", os.link)):
        model = folder / kind / "m.onnx"
        model.parent.mkdir()
        model.write_bytes(files.onnx(tensor=files.outside("w.data")))
        link(outside, model.parent / "w.data")
        placed.append(model)
    return placed


def tensor_beside(folder: Path) -> Path:
    """An honest model with its tensor beside it, for what the links are compared with."""
    model = folder / "m.onnx"
    model.write_bytes(files.onnx(tensor=files.outside("w.data")))
    (folder / "w.data").write_bytes(b"1234")
    return model
