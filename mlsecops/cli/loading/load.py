"""Command `mlsecops load`: model and trust policy → LoadedModel → its description."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsecops.cli.models import add_model_options, load_model
from mlsecops.cli.options import add_format, option
from mlsecops.cli.terminal import show, show_json
from mlsecops.loading import LoadedModel

EXAMPLE = "mlsecops load model/ --key release.pub.pem --arch nets:build"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model folder or file", type=Path)
    add_model_options(parser)
    option(parser, "--tensor NAME",
           "tensor to load alone; of a model signed in shards only its part is read; repeatable",
           action="append", default=[])  # fmt: skip
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Load the model and print its description."""
    loaded = load_model(options.path, options)
    if options.format == "json":
        show_json(_plain(options.path, loaded))
    else:
        show(*_text(options.path, loaded))
    return 0


def _plain(path: Path, loaded: LoadedModel) -> dict[str, Any]:
    return {
        "loaded": True,
        "path": str(path),
        "format": str(loaded.format),
        "digest": str(loaded.digest),
        "signers": list(loaded.verified.signers),
        "tier": loaded.tier,
        "ignored": list(loaded.verified.ignored),
        "model": _described(loaded),
    }


def _text(path: Path, loaded: LoadedModel) -> list[str]:
    return [
        f"loaded {path}: {loaded.format}, tier {loaded.tier}",
        f"  digest {loaded.digest}",
        *(f"  signer {signer}" for signer in loaded.verified.signers),
        f"  model  {_words(_described(loaded))}",
        *(f"  not covered by the signature, not read: {name}" for name in loaded.verified.ignored),
    ]


def _described(loaded: LoadedModel) -> dict[str, Any]:
    """Type, framework, tensors and shapes of a model, without calling it."""
    kind = type(loaded.model)
    described: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if loaded.adapter is not None:
        return {**described, "framework": loaded.adapter.framework}
    if isinstance(loaded.model, Mapping):
        return {**described, "tensors": {str(k): _shape(v) for k, v in loaded.model.items()}}
    return {**described, **_shape(loaded.model)}


def _shape(value: Any) -> dict[str, Any]:
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return {"type": type(value).__qualname__}
    return {"dtype": str(value.dtype), "shape": [int(size) for size in value.shape]}


def _words(described: Mapping[str, Any]) -> str:
    if "framework" in described:
        return f"{described['type']}, a {described['framework']} model"
    if "tensors" in described:
        return f"{len(described['tensors'])} tensors by name; name a model for them with --arch"
    if "shape" in described:
        return f"an array of {described['dtype']} shaped {tuple(described['shape'])}"
    return str(described["type"])
