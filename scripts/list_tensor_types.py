"""Generator of `mlsecops/loading/allowed/tensor_types.txt` from the packages' own tables.

Installed `gguf` (`pip install gguf`) and `safetensors` → type → sizes. Run it after an upgrade.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import safetensors
from gguf import GGML_QUANT_SIZES

TARGET = Path(__file__).parent.parent / "mlsecops" / "loading" / "allowed" / "tensor_types.txt"
CORRECTED = {9: (32, 36)}
"""Q8_1 holds two half-precision numbers (`ggml-common.h`); the package has floats."""
UNKNOWN = b'{"x":{"dtype":"?","shape":[1],"data_offsets":[0,1]}}'


def safetensors_names() -> list[str]:
    """Data types that the library names in its refusal of an unknown one."""
    try:
        safetensors.deserialize(len(UNKNOWN).to_bytes(8, "little") + UNKNOWN + b"\0")
    except safetensors.SafetensorError as error:
        return sorted(set(re.findall(r"`([A-Z][A-Z0-9_]*)`", str(error))))
    raise SystemExit("safetensors took a data type that nobody has defined")


def bits(name: str) -> int:
    """Bits of an element, which the name says."""
    found = re.match(r"[A-Z]+(\d+)", name)
    return int(found[1]) if found else 8


if __name__ == "__main__":
    versions = f"gguf {version('gguf')}, safetensors {version('safetensors')}"
    lines = [f"# {versions}; written by scripts/list_tensor_types.py"]
    ggml = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()} | CORRECTED
    lines += [f"ggml {kind} {block} {size}" for kind, (block, size) in sorted(ggml.items())]
    lines += [f"safetensors {name} {bits(name)}" for name in safetensors_names()]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
