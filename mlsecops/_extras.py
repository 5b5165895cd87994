"""Imports of optional packages; a missing one names the command that installs it."""

from __future__ import annotations

import importlib
from typing import Any, Final

from mlsecops.errors import MissingExtra

EXTRA_OF: Final[dict[str, str]] = {
    "torch": "torch",
    "safetensors": "torch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "h5py": "tensorflow",
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "threadpoolctl": "sklearn",
    "art": "art",
    "blake3": "blake3",
    "datasketches": "sketches",
    "httpx": "http",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "fsspec": "remote",
    "obstore": "store",
    "cedarpy": "policy",
    "starlette": "witness",
    "uvicorn": "witness",
    "s3fs": "s3",
    "gcsfs": "gs",
    "huggingface_hub": "hub",
    "oras": "oci",
    "pathspec": "dvc",
    "pyarrow": "tables",
    "cyclonedx": "bom",
    "packageurl": "bom",
    "license_expression": "bom",
    "spdx_python_model": "bom",
    "opentelemetry.sdk": "otel",
    "limits": "limits",
    "redis": "limits",
    "prometheus_client": "prometheus",
    "boto3": "cloudwatch",
    "botocore": "cloudwatch",
    "mlflow": "mlflow",
    "yaml": "settings",
    "jinja2": "settings",
    "skops": "sklearn",
    "py_landlock": "sandbox",
    "pyseccomp": "sandbox",
    "sigstore": "sigstore",
    "rfc3161_client": "timestamp",
    "pkcs11": "pkcs11",
    "google.cloud.kms": "gcpkms",
    "google.api_core": "gcpkms",
    "google.auth": "gcpkms",
    "azure": "azurekms",
    "bcrypt": "ssh",
    "markdown_it": "llm",
    "tokenizers": "llm",
    "mcp": "mcp",
}


def require(module: str, *, extra: str | None = None) -> Any:
    """Import an optional module, or say how to install it.

    Args:
        module: Dotted name (`"torch"`, `"safetensors.torch"`).
        extra: Extra that brings it; by default that of `EXTRA_OF`.

    Returns:
        The imported module.

    Raises:
        MissingExtra: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        package = package_of(module) if extra is None else f'"mlsecops-sdk[{extra}]"'
        raise MissingExtra(
            f"{module} is not installed; install it with: pip install {package}",
            name=module,
        ) from error


def package_of(module: str) -> str:
    """Argument of pip that installs a module: an extra of this package, or its own name."""
    extras = (extra for name, extra in EXTRA_OF.items() if f"{module}.".startswith(f"{name}."))
    extra = next(extras, None)
    return module.partition(".")[0] if extra is None else f'"mlsecops-sdk[{extra}]"'
