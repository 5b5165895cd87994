"""Command `mlsecops registry`: action and model → signed event → version, digest or log."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from mlsecops._files import write_privately
from mlsecops.cli.operations import prune, witness
from mlsecops.cli.options import add_action, add_format, option
from mlsecops.cli.signing.keygen import add_password
from mlsecops.cli.signing.sign import read_signer
from mlsecops.cli.signing.verify import add_trust, trust_from
from mlsecops.cli.terminal import show, show_json
from mlsecops.cli.values import key_source, local_path, pair
from mlsecops.errors import UsageError
from mlsecops.registry import Registry, Version
from mlsecops.registry.migration import migrate_log
from mlsecops.signing import PublicKey, Signer

_ALONE: Final[dict[str, Any]] = {"witness": witness, "prune-cache": prune}  # without a registry
_COMMAND: Final = "mlsecops registry --location reg"
_SIGNED: Final = "--key pub.pem --signer key.pem"
EXAMPLE = f"{_COMMAND} publish digits model/ {_SIGNED}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--location DIR|URL", "registry folder or bucket", type=location)
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="|".join([*_ACTIONS, *_ALONE])
    )
    for name, module in _ALONE.items():
        module.configure(add_action(actions, name, module.ABOUT, module.EXAMPLE))
    for name, (_, about, words, arguments) in _ACTIONS.items():
        writes = name in _WRITES
        trust = _SIGNED if writes else "--key pub.pem"
        action = add_action(actions, name, about, f"{_COMMAND} {name} {words} {trust}")
        for form, help_, settings in arguments:
            option(action, form, help_, **settings)
        add_registry_options(action, writes=writes)


def add_registry_options(parser: argparse.ArgumentParser, *, writes: bool) -> None:
    """Declare the registry's location and trust and, if it is written, the signer of its log."""
    option(parser, "--location DIR|URL", "registry folder or bucket (s3://BUCKET/PREFIX, gs://, "
           "az://); also accepted before the action", type=location,
           default=argparse.SUPPRESS)  # fmt: skip
    option(parser, "--storage NAME=VALUE", "options of a bucket, such as endpoint=URL; default "
           "AWS_* variables and the like", type=pair("NAME=VALUE", str), several=True)  # fmt: skip
    add_trust(parser)
    option(parser, "--log-key PUB", "public keys that may sign the log; default those of --key",
           several=True)  # fmt: skip
    add_pin(parser)
    add_format(parser)
    if writes:
        option(parser, "--signer KEY.pem", "private key, or URI of one in a key service, that "
               "signs the log", type=key_source)  # fmt: skip
        add_password(parser)


def location(text: str) -> Path | str:
    """A folder, or the URL of a bucket as it is.

    Examples:
        >>> location("s3://models/prod"), location("registry").name
        ('s3://models/prod', 'registry')
    """
    return text if "://" in text else local_path(text)


def add_pin(parser: argparse.ArgumentParser) -> None:
    """Declare what the registry's log must extend, and its name."""
    option(parser, "--pinned F",
           "file of a checkpoint that the log must extend, which is moved forward; keep it "
           "elsewhere, and begin it with verify-log --out F", type=Path)  # fmt: skip
    option(parser, "--origin NAME", "name of the log that is expected, or that a new log gets")
    option(parser, "--witness URL,VKEY", "address and verifier key of a witness of the log",
           type=_witness, several=True)  # fmt: skip
    option(parser, "--quorum N", "number of witnesses that must have cosigned the log", type=int,
           default=0)  # fmt: skip


def require_pin(pinned: Path | None, place: Path | str) -> None:
    """Demand that the pinned file of an existing registry is there.

    Raises:
        UsageError: It is not: a misspelt name would accept any log.
    """
    known = not isinstance(place, Path) or (place.is_dir() and any(place.iterdir()))
    if known and pinned is not None and not pinned.exists():
        raise UsageError(
            f"--pinned {pinned}: there is no such file; begin it with verify-log --out"
        )


def open_registry(options: argparse.Namespace, *, create: bool = False) -> Registry:
    """The registry of the options.

    Args:
        options: Parsed options.
        create: Whether to create one where none exists.

    Raises:
        UsageError: No location is given, or nothing exists there.
        RegistryError: The folder is no registry.
    """
    if options.location is None:
        raise UsageError(
            "--location: expected the folder or URL of a registry, got none; name it before or "
            "after the action"
        )
    local = isinstance(options.location, Path)
    if not create and local and not options.location.is_dir():
        raise UsageError(
            f"--location {options.location}: expected the folder of a registry, found none; check "
            "the path, or publish a model there first"
        )
    policy = trust_from(options)
    keys = [PublicKey.load(Path(key)) for key in options.log_key]
    require_pin(options.pinned, options.location)
    return Registry(
        options.location,
        signer=_signer(options),
        policy=policy,
        log_keys=keys or None,
        pinned=options.pinned,
        origin=options.origin,
        witnesses=options.witness,
        quorum=options.quorum,
        storage_options=dict(options.storage),
    )


def _signer(options: argparse.Namespace) -> Signer | None:
    if getattr(options, "signer", None) is None:
        return None
    alone = argparse.Namespace(password_env=options.password_env, cert=None, chain=[])
    return read_signer(options.signer, alone)


def run(options: argparse.Namespace) -> int:
    """Run the action and print its result."""
    if options.action in _ALONE:
        return int(_ALONE[options.action].run(options))
    if options.action in _WRITES and options.signer is None:
        raise UsageError(f"{options.action}: expected --signer KEY.pem, which signs the log")
    if options.action == "migrate":
        value, lines = _migrate(options)
    else:
        registry = open_registry(options, create=options.action == "publish")
        value, lines = _ACTIONS[options.action][0](registry, options)
    if options.format == "json":
        show_json(value)
    else:
        show(*lines)
    return 0


Outcome = tuple[Any, list[str]]


def _quarantine(registry: Registry, options: argparse.Namespace) -> Outcome:
    digest = registry.quarantine(options.target, options.reason)
    return {"digest": str(digest), "state": "quarantined"}, [f"{digest} is quarantined"]


def _history(registry: Registry, options: argparse.Namespace) -> Outcome:
    events = [event.to_dict() for event in registry.history(options.name)]
    keys = ("index", "at", "type", "version", "digest")
    lines = [" ".join(str(event[key]) for key in keys if key in event) for event in events]
    return events, lines


def _verify_log(registry: Registry, options: argparse.Namespace) -> Outcome:
    checkpoint = registry.verify_log()
    vkeys = registry.log_vkeys()
    if options.out is not None:
        try:
            write_privately(options.out, str(checkpoint).encode())
        except OSError as error:
            raise UsageError(f"cannot write {options.out}: {error.strerror}") from error
    value = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": f"sha256:{checkpoint.root.hex()}",
        "checkpoint": str(checkpoint),
        "vkeys": list(vkeys),
    }
    return value, [*str(checkpoint).rstrip("\n").split("\n"), *vkeys]


def _list(registry: Registry, _: argparse.Namespace) -> Outcome:
    models: dict[str, list[Version]] = {}
    for version in registry.versions():
        models.setdefault(version.name, []).append(version)
    value = [
        {
            "name": name,
            "versions": len(versions),
            "serving": next((each.version for each in versions if registry.serves(each)), None),
            "floor": registry.floor(name),
            "quarantined": [each.version for each in versions if each.state == "quarantined"],
        }
        for name, versions in models.items()
    ]
    lines = [
        f"{each['name']}: versions {each['versions']}, serving {each['serving']}, "
        f"floor {each['floor']}"
        for each in value
    ]
    return value, lines


def _show(registry: Registry, options: argparse.Namespace) -> Outcome:
    registry.history(options.name)  # an unknown model is an error
    versions = registry.versions(options.name)
    value = {
        "name": options.name,
        "serving": next((each.version for each in versions if registry.serves(each)), None),
        "floor": registry.floor(options.name),
        "versions": [each.to_dict() for each in versions],
    }
    lines = [f"{each.version} {each.digest} {each.state}" for each in versions]
    return value, [f"{options.name}: floor {value['floor']}, serving {value['serving']}", *lines]


def _raise_floor(registry: Registry, options: argparse.Namespace) -> Outcome:
    registry.raise_floor(options.name, options.version)
    floor = registry.floor(options.name)
    return {"name": options.name, "floor": floor}, [f"{options.name}: floor {floor}"]


def _rotate_key(registry: Registry, options: argparse.Namespace) -> Outcome:
    old = registry.signer.public_key.fingerprint if registry.signer is not None else ""
    alone = argparse.Namespace(password_env=options.new_password_env, cert=None, chain=[])
    registry.rotate_key(new := read_signer(options.new_signer, alone))
    value = {"retired": old, "key": new.public_key.fingerprint, "vkeys": list(registry.log_vkeys())}
    return value, [f"key {value['key']} signs the log now", *registry.log_vkeys()]


def _migrate(options: argparse.Namespace) -> Outcome:
    if not isinstance(options.location, Path):
        raise UsageError("--location: expected the folder of the older registry")
    signer = _signer(options)
    if signer is None:
        raise UsageError("migrate: expected --signer KEY.pem, which signs the log")
    keys = [PublicKey.load(Path(key)) for key in options.log_key]
    checkpoint = migrate_log(
        options.location,
        signer=signer,
        policy=trust_from(options),
        log_keys=keys or None,
        pinned=options.pinned,
    )
    value = {"origin": checkpoint.origin, "size": checkpoint.size, "checkpoint": str(checkpoint)}
    return value, [f"{checkpoint.origin}: migrated, size {checkpoint.size}"]


def _version(version: Version) -> Outcome:
    value = version.to_dict()
    text = f"{version.name} version {version.version} {version.digest} {version.state}"
    if version.path is None:
        return value, [text]
    return {**value, "path": str(version.path)}, [text, str(version.path)]


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a version number, got {text!r}")
    return int(text)


def _number_or_serving(text: str) -> int | Literal["serving"]:
    return "serving" if text == "serving" else _number(text)


def _witness(text: str) -> tuple[str, str]:
    url, _, key = text.rpartition(",")
    if not url or not key:
        raise argparse.ArgumentTypeError(f"expected URL,VKEY, got {text!r}")
    return url, key


_WRITES: Final = frozenset(
    {"publish", "promote", "quarantine", "rollback", "raise-floor", "rotate-key", "migrate"}
)
_Argument = tuple[str, str, dict[str, Any]]
_Action = Callable[[Registry, argparse.Namespace], Outcome]
_NAME: Final[_Argument] = ("name NAME", "name of the model", {})
_ACTIONS: Final[dict[str, tuple[_Action, str, str, tuple[_Argument, ...]]]] = {
    "publish": (
        lambda registry, given: _version(registry.publish(given.name, given.folder)),
        "store a signed folder as the next version", "digits model/",
        (_NAME, ("folder FOLDER", "signed model folder", {"type": Path})),
    ),
    "promote": (
        lambda registry, given: _version(registry.promote(given.name, given.version, given.stage)),
        "approve a version or make it serve", "digits 2 serving",
        (_NAME, ("version VERSION", "version number", {"type": _number}),
         ("stage", "new stage", {"choices": ("approved", "serving")})),
    ),
    "resolve": (
        lambda registry, given: _version(registry.resolve(given.name, given.version)),
        "verify a version and print its path", "digits serving",
        (_NAME, ("version VERSION|serving", "version number, or the version that serves",
                 {"type": _number_or_serving, "nargs": "?", "default": "serving"})),
    ),
    "quarantine": (
        _quarantine, "isolate a digest: loaders refuse it", 'digits --reason "wrong answers"',
        (("target NAME|sha256:HEX", "a model, for its serving version, or a digest", {}),
         ("--reason REASON", "reason, shown when the digest is refused", {"required": True})),
    ),
    "rollback": (
        lambda registry, given: _version(registry.rollback(given.name, serving=given.serving)),
        "serve the newest earlier version that verifies", "digits",
        (_NAME, ("--serving VERSION", "only if this version serves; such a call can be repeated",
                 {"type": _number})),
    ),
    "history": (_history, "print the events of a model", "digits", (_NAME,)),
    "list": (_list, "print the models", "", ()),
    "show": (_show, "print a model's versions with their states", "digits", (_NAME,)),
    "raise-floor": (
        _raise_floor, "refuse every version below one, for good", "digits 2",
        (_NAME, ("version VERSION", "lowest version that may be used", {"type": _number})),
    ),
    "rotate-key": (
        _rotate_key, "let another key sign the log", "--new-signer new.pem",
        (("--new-signer NEW.pem", "private key, or its URI, that signs the log from now on",
          {"type": key_source, "required": True}),
         ("--new-password-env NAME", "environment variable with the new key's password", {})),
    ),
    "migrate": (
        lambda _, options: _migrate(options),
        "read the SQLite log of an earlier release once", "", (),
    ),
    "verify-log": (
        _verify_log, "verify every event of the log", "--pinned checkpoint.txt",
        (("--out F", "file for the checkpoint, readable by you alone", {"type": Path}),),
    ),
}  # fmt: skip
