"""Bundles of models in OCI registries: attached, listed, verified against the unpacked files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from mlsecops._choices import checked
from mlsecops.errors import MLSecOpsError, SignatureMissing, UsageError
from mlsecops.integrations.oci.registry import MANIFEST, OciRegistry
from mlsecops.integrations.oci.unpacking import unpack
from mlsecops.signing import Bundle, TrustPolicy, Verified, read_bundle, verify
from mlsecops.signing.bundle import MEDIA_TYPE

_EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"


@checked
def attach(
    reference: str,
    bundle: Bundle | str | os.PathLike[str],
    *,
    insecure: bool = False,
) -> str:
    """Attach the bundle of a model's folder to the artifact that holds its files.

    Args:
        reference: `registry/repository:tag` or `…@sha256:…`.
        bundle: What `sign` made of the folder that was pushed, or its path.
        insecure: Whether to speak plain HTTP, as to a registry on this machine.

    Returns:
        Digest of the attached artifact, `sha256:…`.

    Raises:
        RegistryError: The registry refuses, or there is no such artifact.
        MissingExtra: oras is not installed.
    """
    data = bundle.to_bytes() if isinstance(bundle, Bundle) else read_bundle(bundle)
    Bundle.from_bytes(data, where=reference)
    registry = OciRegistry(reference, insecure=insecure)
    subject, size, _ = registry.manifest()
    layers = [registry.push(data, MEDIA_TYPE)]
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": registry.push(_EMPTY, _EMPTY_TYPE),
        "layers": layers,
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": size},
    }
    return registry.refer(value, subject)


@checked
def attached(reference: str, *, insecure: bool = False) -> list[Bundle]:
    """The bundles that are attached to an artifact, none of them trusted yet.

    Args:
        reference: As for `attach`.
        insecure: As for `attach`.

    Raises:
        RegistryError: The registry refuses, or there is no such artifact.
        MalformedBundle: One is no bundle.
    """
    registry = OciRegistry(reference, insecure=insecure)
    subject, _, _ = registry.manifest()
    return [
        Bundle.from_bytes(data, where=f"{reference}: bundle {at + 1}")
        for at, data in enumerate(registry.bundles(subject))
    ]


@checked
def verify_artifact(
    reference: str,
    *,
    policy: TrustPolicy,
    into: str | os.PathLike[str] | None = None,
    name: str | None = None,
    insecure: bool = False,
    max_bytes: int = 1 << 38,
) -> Verified:
    """Fetch an artifact and verify its files against a bundle that is attached to it.

    Args:
        reference: As for `attach`.
        policy: Trust policy; one bundle must satisfy it.
        into: New folder for the verified files and their bundle, which `SecureLoader` loads;
            nothing is left there if they do not verify. By default nothing is kept.
        name: As for `mlsecops.verify`; by default the last part of the repository's name.
        insecure: As for `attach`.
        max_bytes: Ceiling of the unpacked files, in bytes; 256 GiB by default.

    Raises:
        SignatureError: No bundle is attached, or none is valid.
        PolicyError: No bundle satisfies the policy.
        DigestMismatch: A file was added, removed or changed, or a layer is not what it is named.
        UnsafeContent: A layer has a link, a device, or a name that leaves the folder.
        LimitExceeded: The files are larger than `max_bytes`.
        UsageError: `into` exists.
        RegistryError: The registry refuses.
    """
    if into is not None and os.path.lexists(into):
        raise UsageError(f"{os.fspath(into)} exists: expected a new folder; choose another name")
    registry = OciRegistry(reference, insecure=insecure)
    subject, _, manifest = registry.manifest()
    near = None if into is None else Path(into).absolute().parent
    with tempfile.TemporaryDirectory(prefix=".mlsecops-", dir=near) as folder:
        model = Path(folder, registry.name)
        model.mkdir()
        unpack(registry, manifest, model, max_bytes)
        bundles = registry.bundles(subject)
        if not bundles:
            raise SignatureMissing(
                f"{reference}: expected an attached bundle, got none; sign the folder that was "
                "pushed, and attach its bundle with mlsecops.integrations.oci.attach"
            )
        verified, data = _any(bundles, model, policy, name, reference)
        if into is not None:
            (model / "model.sig").write_bytes(data)
            model.rename(into)
    return verified


def _any(
    bundles: list[bytes], model: Path, policy: TrustPolicy, name: str | None, reference: str
) -> tuple[Verified, bytes]:
    """The first bundle that verifies; else the error of the newest one."""
    errors: list[MLSecOpsError] = []
    for data in bundles:
        try:
            bundle = Bundle.from_bytes(data, where=f"{reference}: attached bundle")
            return verify(model, bundle, policy=policy, name=name), data
        except MLSecOpsError as error:
            errors.append(error)
    raise errors[-1]
