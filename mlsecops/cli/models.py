"""How a command gets the model it was pointed at: verified, scanned, and only then loaded."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from mlsecops.cli.signing.verify import add_trust, trust_from
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.loading import LoadedModel, SecureLoader
from mlsecops.loading.readers.decode import FRAMEWORKS
from mlsecops.loading.snapshot_tiers import TIERS


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare whom to trust for a model, and how it is loaded."""
    parser.add_argument("--bundle", type=Path, metavar="F", help="default DIR/model.sig")
    parser.add_argument(
        "--arch", metavar="MODULE:CALLABLE",
        help="builds the model that the weights go into; imported from the path or this folder",
    )  # fmt: skip
    parser.add_argument("--framework", choices=FRAMEWORKS, help="reads the file; default its own")
    parser.add_argument(
        "--file",
        metavar="NAME",
        help="which file of the folder is the model, where there are several",
    )
    parser.add_argument(
        "--tier", choices=TIERS, default="sealed",
        help="how the bytes are held: in sealed memory, in place under a lease, or in a file",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="where torch tensors go; default cpu")
    parser.add_argument(
        "--allow-global", action="append", default=[], metavar="NAME",
        help="audited name that the file may use besides the built-in list",
    )  # fmt: skip
    add_trust(parser)


def load_model(path: Path, options: argparse.Namespace) -> LoadedModel:
    """Verify, scan and load a model as the options say.

    Raises:
        UsageError: The path or the architecture cannot be had.
        MLSecOpsError: As `SecureLoader.load`.
    """
    require_path(path)
    policy = trust_from(options)
    quiet_frameworks()
    loader = SecureLoader(policy, tier=options.tier, allow_globals=options.allow_global)
    into = None if options.arch is None else build_architecture(options.arch)
    return loader.load(
        path,
        framework=options.framework,
        into=into,
        bundle=options.bundle,
        device=options.device,
        file=options.file,
    )


def require_path(path: Path) -> None:
    """Demand that a path leads somewhere: an absent model is not an unsigned one.

    Raises:
        UsageError: It does not.
    """
    if not path.exists():
        raise UsageError(f"cannot open {path}: no such file or folder")


def build_architecture(name: str) -> Any:
    """Call `module:callable`.

    Args:
        name: Importable module and the callable in it, which is given nothing.

    Raises:
        UsageError: There is no such module or callable, or it fails.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"--arch {name!r}: expected module:callable")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last, so that no file here can stand in for an installed module
    try:
        build = getattr(importlib.import_module(module), attribute)
        return build()
    except MLSecOpsError:
        raise
    except (Exception, SystemExit) as error:  # what the user names may fail in any way
        raise UsageError(f"--arch {name}: {type(error).__name__}: {error}") from error


def require_callable(loaded: LoadedModel) -> Any:
    """The adapter of a loaded model.

    Raises:
        UsageError: Only tensors were loaded, which nobody can call.
    """
    if loaded.adapter is None:
        raise UsageError(
            f"the {loaded.format} file holds tensors and no model: name the architecture that "
            "they belong to with --arch module:callable"
        )
    return loaded.adapter


def quiet_frameworks() -> None:
    """Keep what frameworks print at import out of a command's standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
