"""`mlsecops verify`: verify a model's signature and every file."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from mlsecops.cli.options import add_format
from mlsecops.cli.terminal import plural, show_json
from mlsecops.errors import UsageError
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.verification import verify
from mlsecops.signing.verified import Verified

EXAMPLE = "example: mlsecops verify model/ --key release.pub.pem"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("path", metavar="PATH", help="model folder or file")
    parser.add_argument("--bundle", type=Path, metavar="F", help="default DIR/model.sig")
    add_trust(parser)
    parser.add_argument(
        "--ignore-unsigned", action="store_true", help="report unsigned files, do not refuse them"
    )
    parser.add_argument(
        "--legacy", action="store_true", help="accept bundles of the format's first release (v0.2)"
    )
    parser.add_argument(
        "--at", type=moment, metavar="TIME", help="verify as of then (ISO 8601; UTC by default)"
    )
    parser.add_argument("--cache", type=Path, metavar="F", help="digests of unchanged files")
    add_format(parser)


def moment(text: str) -> datetime:
    """A time with a timezone; UTC where none is named."""
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Declare whom to trust."""
    group = parser.add_argument_group("trust")
    group.add_argument(
        "--key", nargs="+", action="extend", default=[], metavar="PUB", help="trusted public keys"
    )
    group.add_argument(
        "--root", nargs="+", action="extend", default=[], metavar="CA", help="trusted authorities"
    )
    group.add_argument("--policy", type=Path, metavar="TOML", help="trust policy file")
    group.add_argument("--threshold", type=int, metavar="N", help="how many must have signed")


def trust_from(options: argparse.Namespace) -> TrustPolicy:
    """The policy that the options describe.

    Raises:
        UsageError: They name nobody, or both a policy and keys.
    """
    named = bool(options.key or options.root) or options.threshold is not None
    if options.policy is not None:
        if named:
            raise UsageError("--policy stands alone: put keys, roots and threshold into its file")
        return TrustPolicy.load(options.policy)
    if not (options.key or options.root):
        raise UsageError("whom to trust? name --key PUB, --root CA or --policy trust.toml")
    return TrustPolicy(
        keys=[Path(key) for key in options.key],
        roots=[Path(root) for root in options.root],
        threshold=1 if options.threshold is None else options.threshold,
    )


def run(options: argparse.Namespace) -> int:
    """Verify and say what holds."""
    verified = verify(
        options.path,
        options.bundle,
        policy=trust_from(options),
        ignore_unsigned="report" if options.ignore_unsigned else "refuse",
        cache=options.cache,
        at=options.at,
        legacy=options.legacy,
    )
    if options.format == "json":
        show_json({"verified": True, **verified.to_dict()})
    else:
        print(_text(verified))
    return 0


def _text(verified: Verified) -> str:
    version = "" if verified.version is None else f" version {verified.version}"
    files = plural(len(verified.manifest), "file")
    lines = [
        f"verified {verified.name}{version}: {verified.digest} ({files})",
        *(["  by a detached RSA-PSS signature, which names no model"] if verified.detached else []),
        *(f"  signer {signer}" for signer in verified.signers),
        *(f"  statement {statement.predicate_type}" for statement in verified.statements),
        *(f"  not covered by the signature: {name}" for name in verified.ignored),
    ]
    return "\n".join(lines)
