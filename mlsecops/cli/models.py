"""Model loading for commands: path and options → SecureLoader → LoadedModel."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from mlsecops.cli.options import option
from mlsecops.cli.signing.verify import add_bundle, add_name, add_trust, trust_from
from mlsecops.cli.terminal import progress
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.loading import LoadedModel, SecureLoader
from mlsecops.loading.readers.decode import FRAMEWORKS
from mlsecops.loading.snapshot_tiers import TIERS


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare the trust and the loading of a model."""
    add_bundle(parser)
    add_name(parser)
    option(parser, "--arch MODULE:CALLABLE",
           "callable that builds the model, on sys.path or in this folder")  # fmt: skip
    option(parser, "--framework", "reader of the file; default by its format", choices=FRAMEWORKS)
    option(parser, "--file NAME", "model file, if the folder holds several")
    option(parser, "--tier",
           "snapshot of the bytes: in sealed memory, in place under a lease, or in a copied file",
           choices=TIERS, default="sealed")  # fmt: skip
    option(parser, "--device DEVICE", "device of torch tensors", default="cpu")
    option(parser, "--allow-global NAME",
           "audited name that the file may use in addition to the built-in allowlist",
           action="append", default=[])  # fmt: skip
    add_trust(parser)


def load_model(path: Path, options: argparse.Namespace) -> LoadedModel:
    """Verify, scan and load a model.

    Raises:
        UsageError: The path does not exist, or the architecture cannot be built.
        MLSecOpsError: As `SecureLoader.load`.
    """
    require_path(path)
    policy = trust_from(options)
    quiet_frameworks()
    loader = SecureLoader(policy, tier=options.tier, allow_globals=options.allow_global)
    into = None if options.arch is None else build_architecture(options.arch)
    with progress("verifying", unit="bytes") as bar:
        return loader.load(
            path,
            framework=options.framework,
            into=into,
            bundle=options.bundle,
            device=options.device,
            file=options.file,
            name=options.name,
            tensors=getattr(options, "tensor", None) or None,
            progress=bar,
        )


def require_path(path: Path) -> None:
    """Require a path to exist, since an absent model is not an unsigned one.

    Raises:
        UsageError: It does not exist.
    """
    if not path.exists():
        raise UsageError(
            f"cannot open {path}: expected a file or folder, found none; check the path"
        )


def build_architecture(name: str) -> Any:
    """Call `module:callable` without arguments.

    Args:
        name: Importable module and a callable in it.

    Raises:
        UsageError: There is no such module or callable, or it fails.

    Examples:
        >>> build_architecture("collections:Counter")
        Counter()
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(
            f"--arch: expected module:callable such as nets:build, got {name!r}; name the callable "
            "that builds the model"
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last, so that no file here can replace an installed module
    try:
        build = getattr(importlib.import_module(module), attribute)
        return build()
    except MLSecOpsError:
        raise
    except (Exception, SystemExit) as error:  # the named callable may fail in any way
        raise UsageError(
            f"--arch {name}: expected a callable that builds the model without arguments, got "
            f"{type(error).__name__}: {error}"
        ) from error


def require_callable(loaded: LoadedModel) -> Any:
    """The adapter of a loaded model.

    Raises:
        UsageError: The file holds tensors only, which cannot be called.
    """
    if loaded.adapter is None:
        raise UsageError(
            f"--arch: expected module:callable, which builds the model of the tensors in the "
            f"{loaded.format} file"
        )
    return loaded.adapter


def quiet_frameworks() -> None:
    """Keep TensorFlow's start-up messages out of standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow: fatal messages only
