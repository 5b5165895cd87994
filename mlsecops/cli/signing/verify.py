"""Command `mlsecops verify`: model, bundle and trust policy → Verified, or a refusal."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mlsecops.cli.options import add_cache, add_format, option
from mlsecops.cli.terminal import plural, print_findings, show, show_json
from mlsecops.cli.values import count, duration, location, place
from mlsecops.errors import UsageError
from mlsecops.signing.identities.identity import Identity
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.verification import verify
from mlsecops.signing.verified import Verified

EXAMPLE = "mlsecops verify model/ --key release.pub.pem"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model folder, file or URL (s3://bucket/model)",
           type=place)  # fmt: skip
    add_trust(parser)
    add_bundle(parser)
    add_name(parser)
    option(parser, "--ignore P", "relative path that is not looked at; may be repeated",
           action="append", default=[])  # fmt: skip
    option(parser, "--ignore-unsigned", "report unsigned files, do not refuse them")
    option(parser, "--legacy", "accept bundles of the first format version (0.2.0)")
    option(parser, "--at TIME", "time of verification, ISO 8601; default now", type=moment)
    option(parser, "--wait SECONDS", "wait so long for a model that is still being downloaded",
           type=duration, default=0.0)  # fmt: skip
    add_cache(parser)
    add_format(parser, "sarif", "junit")


def moment(text: str) -> datetime:
    """A time with a time zone, UTC where the text names none.

    Examples:
        >>> moment("2026-01-02").isoformat()
        '2026-01-02T00:00:00+00:00'
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a time in ISO 8601 such as 2026-01-02T12:00+00:00, got {text[:40]!r}"
        ) from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Declare the trusted keys, authorities or policy."""
    group = parser.add_argument_group("trust")
    option(group, "--key PUB", "trusted public keys", several=True)
    option(group, "--root CA", "trusted certificate authorities", several=True)
    option(group, "--identity S", "trusted identities (e-mail address or workflow URI) of keyless "
           "signatures; * stands for any characters", several=True)  # fmt: skip
    option(group, "--identity-issuer I", "OpenID Connect issuer of the identities (URL)")
    option(group, "--trusted-root F", "trusted root (JSON) of the Sigstore instance; default: that "
           "of the public instance, as the sigstore extra ships it", type=Path)  # fmt: skip
    option(group, "--policy TOML", "trust policy file", type=Path)
    option(group, "--threshold N", "number of signers required; default 1", type=count)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Declare where the signature bundle is."""
    option(parser, "--bundle F", "signature bundle, a file or URL; default DIR/model.sig",
           type=location)  # fmt: skip


def add_name(parser: argparse.ArgumentParser) -> None:
    """Declare the name that the model must be signed under."""
    option(parser, "--name NAME",
           "name that the model must be signed under; default that of the folder or file, where "
           "the policy restricts by name")  # fmt: skip


def trust_from(options: argparse.Namespace) -> TrustPolicy:
    """The trust policy of the options.

    Raises:
        UsageError: They name nobody, or both a policy file and keys.
    """
    given = [options.key, options.root, options.identity, options.identity_issuer,
             options.trusted_root, options.threshold is not None]  # fmt: skip
    if options.policy is not None:
        if any(given):
            raise UsageError(
                "--policy: expected no --key, --root, --identity or --threshold; put them into the "
                "policy file"
            )
        return TrustPolicy.load(options.policy)
    if not (options.key or options.root or options.identity):
        raise UsageError(
            "trust: expected --key PUB, --root CA, --identity S or --policy trust.toml, got none"
        )
    return TrustPolicy(
        keys=[Path(key) for key in options.key],
        roots=[Path(root) for root in options.root],
        identities=_identities(options),
        trusted_root=options.trusted_root,
        threshold=1 if options.threshold is None else options.threshold,
    )


def _identities(options: argparse.Namespace) -> list[Identity]:
    issuer = options.identity_issuer
    if bool(options.identity) != bool(issuer):
        raise UsageError(
            "--identity: expected --identity-issuer I with it, the URL of who vouches for the "
            "identity, and the other way round"
        )
    if options.trusted_root is not None and not options.identity:
        raise UsageError("--trusted-root: expected --identity S with it, got none")
    return [Identity(subject=subject, issuer=issuer) for subject in options.identity]


def run(options: argparse.Namespace) -> int:
    """Verify the model and print what was verified."""
    policy = trust_from(options)

    def check() -> Verified:
        return verify(
            options.path,
            options.bundle,
            policy=policy,
            ignore_unsigned="report" if options.ignore_unsigned else "refuse",
            cache=options.cache,
            at=options.at,
            legacy=options.legacy,
            name=options.name,
            ignore=options.ignore,
        )

    verified = _awaited(check, options.wait) if options.wait else check()
    if options.format in {"sarif", "junit"}:
        print_findings([], options.format, checked=[str(options.path)])
    elif options.format == "json":
        show_json({"verified": True, **verified.to_dict()})
    else:
        show(*_text(verified))
    return 0


def _awaited(check: Callable[[], Verified], seconds: float) -> Verified:
    from mlsecops.integrations.readiness import await_verified  # noqa: PLC0415 - it brings a server

    return await_verified(check, seconds=seconds)


def _text(verified: Verified) -> list[str]:
    version = "" if verified.version is None else f" version {verified.version}"
    files = plural(len(verified.manifest), "file")
    return [
        f"verified {verified.name}{version}: {verified.digest} ({files})",
        *(["  detached RSA-PSS signature, which names no model"] if verified.detached else []),
        *(f"  signer {signer}" for signer in verified.signers),
        *(f"  statement {statement.predicate_type}" for statement in verified.statements),
        *(f"  not covered by the signature: {name}" for name in verified.ignored),
    ]
