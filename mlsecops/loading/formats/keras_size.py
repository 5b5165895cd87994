"""Lower bound of a Keras model's weights, compared with the weights that its file stores.

A configuration and the number of stored weights come in; a refusal goes out. The bound of a layer
follows from the input shape it was built for, or else from the size of the layer before it.

Source: the `build` methods of `keras.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from mlsecops.errors import LimitExceeded
from mlsecops.loading.shapes import element_count

SLACK: Final = 1 << 24  # weights, 64 MiB as float32; chosen: a model never built stores none
_LARGEST: Final = 1 << 63  # weights; chosen: more than any file stores
_QUANTIZED: Final = 2  # weights for each stored byte; Keras int4 quantization

_Size: TypeAlias = Callable[[Callable[[str], int], int], int]


def _recurrent(gates: int) -> _Size:
    return lambda get, inputs: gates * get("units") * (get("units") + inputs)


def _attention(heads: str, size: str) -> _Size:
    return lambda get, inputs: 4 * get(heads) * get(size) * inputs


def _convolution(get: Callable[[str], int], inputs: int) -> int:
    return get("filters") * get("kernel_size") * max(1, inputs // get("groups"))


_SIZES: Final[dict[str, _Size]] = {
    "Dense": lambda get, inputs: get("units") * inputs,
    "EinsumDense": lambda get, _: get("output_shape"),
    "Embedding": lambda get, _: get("input_dim") * get("output_dim"),
    "ReversibleEmbedding": lambda get, _: get("input_dim") * get("output_dim"),
    "MultiHeadAttention": _attention("num_heads", "key_dim"),
    "GroupedQueryAttention": _attention("num_query_heads", "head_dim"),
    **{f"Conv{n}D{kind}": _convolution for n in (1, 2, 3) for kind in ("", "Transpose")},
    **{f"ConvLSTM{n}D": _convolution for n in (1, 2, 3)},
    **{f"SeparableConv{n}D": lambda get, inputs: get("filters") * inputs for n in (1, 2)},
    **{f"DepthwiseConv{n}D": lambda get, inputs: get("depth_multiplier") * inputs for n in (1, 2)},
    **{
        f"{name}{cell}": _recurrent(gates)
        for name, gates in (("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1))
        for cell in ("", "Cell")
    },
}
_OUTPUTS: Final = ("units", "filters", "output_dim")


def require_stored(config: Any, stored: int, *, where: str) -> None:
    """Demand that a file stores the weights of its configuration.

    Raises:
        LimitExceeded: The configuration has far more weights than are stored.

    Examples:
        >>> layer = {"class_name": "Dense", "config": {"units": 3}}
        >>> require_stored(layer, 3, where="config.json")
    """
    most = _QUANTIZED * stored + SLACK
    total = 0
    for name, size in _sizes(config):
        total += size
        if total > most:
            raise LimitExceeded(
                f"{where}: layer {name!r} brings the configuration to at least {total} weights, "
                f"the file stores {stored}: expected the weights of every layer"
            )


def _sizes(config: Any) -> Iterator[tuple[str, int]]:
    before = 1
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += reversed(item)
        elif isinstance(item, dict):
            pending += reversed([*item.values()])
            inner = item.get("config")
            kind = item.get("class_name")
            if isinstance(inner, dict) and isinstance(kind, str) and kind in _SIZES:
                inputs = _inputs(item.get("build_config")) or before
                yield str(inner.get("name", kind)), _SIZES[kind](_getter(inner), inputs)
                before = max(_number(inner.get(key)) for key in _OUTPUTS)


def _getter(config: dict[str, Any]) -> Callable[[str], int]:
    return lambda key: _number(config.get(key))


def _number(value: Any) -> int:
    """A size, or the product of several; 1 for anything else."""
    if isinstance(value, list):
        return element_count([_number(item) for item in value[:8]], most=_LARGEST)
    return min(value, _LARGEST) if type(value) is int and value > 0 else 1


def _inputs(built: Any) -> int | None:
    """Smallest possible channel count of the first shape that a layer was built for."""
    pending = [built]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += reversed([*item.values()])
        elif isinstance(item, list):
            ends = [n for n in (item[1:2] + item[-1:]) if type(n) is int and n > 0]
            if ends and len(item) > 1:
                return min(ends)
            pending += [inner for inner in reversed(item) if isinstance(inner, list)]
    return None
