"""Command `mlsecops dvc`: outputs of a DVC repository → listed, signed, verified."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.options import add_action, add_format, option
from mlsecops.cli.signing.keygen import add_password
from mlsecops.cli.signing.sign import read_signer
from mlsecops.cli.signing.verify import add_name, add_trust, trust_from
from mlsecops.cli.terminal import plural, show, show_json
from mlsecops.cli.values import key_source, place
from mlsecops.integrations.dvc import outputs, sign_outputs, verify_outputs
from mlsecops.signing.verified import Verified

_LIST = "mlsecops dvc list ."
_SIGN = "mlsecops dvc sign . --key release.pem"
_VERIFY = "mlsecops dvc verify . data/train.dvc --key release.pub.pem"
EXAMPLE = f"{_SIGN}\n         {_VERIFY}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|sign|verify")
    listing = add_action(actions, "list", "list the outputs of a repository", _LIST)
    signing = add_action(actions, "sign", "sign the SHA-256 of every file of every output", _SIGN)
    verifying = add_action(
        actions, "verify", "verify outputs after a pull, all of them or the targets", _VERIFY
    )
    for action in (listing, signing, verifying):
        option(action, "path DIR", "folder of the repository", type=place)
    option(verifying, "targets TARGET",
           "what was pulled: outputs, files in them, .dvc files or stages; default all",
           nargs="*")  # fmt: skip
    option(signing, "--key K", "private key, a file or a URI of a key service; may be repeated",
           type=key_source, action="append", required=True)  # fmt: skip
    add_password(signing)
    option(signing, "--cert C", "certificate of the key (PEM)", type=Path)
    option(signing, "--chain C", "intermediate certificates", several=True, type=Path)
    option(signing, "--out F", "bundle to write; default DIR/dvc.sig", type=Path)
    option(signing, "--add", "add a signature to the bundle of unchanged outputs")
    option(signing, "--replace", "replace the bundle, with other keys' signatures")
    option(verifying, "--bundle F", "signature bundle; default DIR/dvc.sig", type=Path)
    add_trust(verifying)
    add_name(verifying)
    for action in (listing, verifying):
        add_format(action)


def run(options: argparse.Namespace) -> int:
    """List, sign or verify the outputs."""
    if options.action == "list":
        names = outputs(options.path)
        if options.format == "json":
            show_json({"outputs": list(names)})
        else:
            show(*names)
    elif options.action == "sign":
        signers = [read_signer(key, options) for key in dict.fromkeys(options.key)]
        bundle = sign_outputs(
            options.path, signers, out=options.out, add=options.add, replace=options.replace
        )
        for signer in signers:
            show(
                f"signed {options.path} by key {signer.public_key.fingerprint[:16]}: {bundle.path}"
            )
    else:
        verified = verify_outputs(
            options.path,
            policy=trust_from(options),
            bundle=options.bundle,
            name=options.name,
            targets=options.targets,
        )
        _show_verified(verified, options.format)
    return 0


def _show_verified(verified: Verified, form: str) -> None:
    if form == "json":
        show_json({"verified": True, **verified.to_dict()})
        return
    files = plural(len(verified.manifest), "file")
    show(
        f"verified {verified.name}: {verified.digest} ({files})",
        *(f"  signer {signer}" for signer in verified.signers),
        *(f"  not covered by the signature: {name}" for name in verified.ignored),
    )
