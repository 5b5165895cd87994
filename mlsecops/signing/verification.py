"""Model verification: the signature of an artifact, and every file of it.

path, bundle, policy → Verifier → files hashed and compared → Verified
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlsecops._choices import checked, of_type
from mlsecops.provenance.files.tree import ignore_paths
from mlsecops.provenance.manifest import read_manifest
from mlsecops.signing.bundle import Bundle, read_bundle
from mlsecops.signing.detached import looks_detached, verify_detached_model
from mlsecops.signing.naming import expected_name
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.shards import file_of
from mlsecops.signing.signature import bundle_location, ignore_for, without_bundle
from mlsecops.signing.verified import SignedModel, Verified
from mlsecops.signing.verifier import Verifier

if TYPE_CHECKING:
    from mlsecops.provenance.files.stat_cache import StatCache  # imports SQLite


@checked
def verify(
    path: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    policy: TrustPolicy,
    ignore_unsigned: Literal["refuse", "report"] = "refuse",
    cache: str | os.PathLike[str] | StatCache | None = None,
    at: datetime | None = None,
    legacy: bool = False,
    name: str | None = None,
    ignore: Iterable[str] = (),
) -> Verified:
    """Verify a model's signature and every file of it.

    The path may change right after: to load what was verified, use `SecureLoader`.

    Args:
        path: The model's folder or file, or the URL of its objects (`s3://bucket/model`).
        bundle: Its bundle, or the path or URL of it; by default `DIR/model.sig`, or `FILE.sig` for
            a file. A bare RSA signature of a file is recognised and verified with the policy's RSA
            keys.
        policy: Trust policy.
        ignore_unsigned: `"refuse"` a folder that holds unsigned files, or `"report"` them in
            `Verified.ignored`.
        cache: Digests of files that have not changed since they were last hashed, to verify again
            fast; whoever may write there is trusted with the model's bytes.
        at: Time of verification, timezone-aware; now by default.
        legacy: Whether to accept bundles of the first release of the format (v0.2.0).
        name: Name that the model must be signed under. Without it, a policy that restricts keys or
            version floors by model name demands the folder's or file's own name.
        ignore: Relative paths, in addition to those that the signature leaves out, whose files are
            not looked at but listed in `Verified.ignored`. A signed file may not be among them.

    Raises:
        SignatureError: There is no bundle, or it does not hold.
        PolicyError: The policy does not accept it.
        DigestMismatch: A file was added, removed or changed.

    Examples:
        >>> import tempfile, pathlib
        >>> model = pathlib.Path(tempfile.mkdtemp()); _ = (model / "w.bin").write_bytes(b"weights")
        >>> from mlsecops import Signer, TrustPolicy, sign, verify
        >>> signer = Signer.generate("p256")
        >>> _ = sign(model, signer)
        >>> verify(model, policy=TrustPolicy(keys=[signer.public_key])).manifest["w.bin"].algorithm
        'sha256'
    """
    if cache is not None and not isinstance(cache, (str, os.PathLike)):
        of_type("cache", cache, "lookup", "a path or a StatCache")
    place = _place(bundle) if isinstance(bundle, Bundle) else bundle_location(path, bundle)
    data = bundle.to_bytes() if isinstance(bundle, Bundle) else read_bundle(place)
    if looks_detached(data) and not Path(path).is_dir():
        return verify_detached_model(
            path, data, policy=policy, where=os.fspath(place), at=at, name=name
        )
    verifier = Verifier(policy, at=at, legacy=legacy)
    signed = verifier.open(data, where=os.fspath(place), expected=expected_name(path, name))
    return match_path(
        verifier, signed, path, place, ignore_unsigned=ignore_unsigned, cache=cache, ignore=ignore
    )


def match_path(
    verifier: Verifier,
    signed: SignedModel,
    path: str | os.PathLike[str],
    place: Path | str,
    *,
    ignore_unsigned: Literal["refuse", "report"] = "refuse",
    cache: str | os.PathLike[str] | StatCache | None = None,
    ignore: Iterable[str] = (),
) -> Verified:
    """Hash the files at a path and demand that they are the signed ones.

    Args:
        verifier: The verifier that opened the bundle.
        signed: Claim of trusted signers.
        path: The model's folder or file.
        place: Path of the bundle, which is no part of the model.
        ignore_unsigned: As for `verify`.
        cache: As for `verify`.
        ignore: As for `verify`.

    Raises:
        DigestMismatch: A file was added, removed or changed.
    """
    expected = signed.manifest
    ignored_paths = (*signed.ignore_paths, *ignore_paths(ignore))
    hidden_paths = ignore_for(path, ignored_paths, place)
    actual, hidden = read_manifest(
        path,
        algorithm=expected.algorithm,
        ignore=hidden_paths,
        shard_size=expected.shard_size,
        cache=cache,
    )
    ignored = {*without_bundle(hidden, path, place), *actual.uncovered}
    if ignore_unsigned == "report":
        # By file, not by entry: a shard appended to a signed file is a change of that file.
        signed_files = {file_of(entry.name, expected) for entry in expected}
        kept = [entry for entry in actual if file_of(entry.name, actual) in signed_files]
        ignored.update(file_of(entry.name, actual) for entry in actual)
        ignored -= signed_files
        actual = replace(actual, entries=tuple(kept))
    return verifier.match(signed, actual, where=os.fspath(path), ignored=sorted(ignored))


def _place(bundle: Bundle) -> Path | str:
    return bundle.path or Path("bundle")
