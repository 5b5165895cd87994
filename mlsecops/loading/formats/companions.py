"""Companion file scanner: text, settings and tokenizers in a model's folder.

content (programs, pickles, text) → settings and chat templates by suffix → Examination

A name decides nothing: what parses as a pickle or starts as a program is judged as that, and what
is neither text nor a SentencePiece model is unchecked. Nothing is loaded.

Source: sentencepiece `sentencepiece_model.proto`.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops._bounded.budget import require_text
from mlsecops._bounded.toml import parse_toml
from mlsecops._json import parse_json
from mlsecops.errors import ContentRefused, FormatRefused, LimitExceeded, MissingExtra
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.containers.protobuf import BYTES, ProtobufReader
from mlsecops.loading.detection import is_companion
from mlsecops.loading.formats.chat_templates import ChatTemplates
from mlsecops.loading.formats.engines.references import examine_references
from mlsecops.loading.formats.settings import examine_settings, may_name_code
from mlsecops.loading.formats.yaml_nodes import parse_yaml
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.headerless import has_called
from mlsecops.loading.pickle_vm.walker import Walker
from mlsecops.loading.signatures import program
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_DEPTH: Final = 100  # levels; chosen: settings of models have fewer than ten; deeper is unchecked
_OPCODES: Final = 200_000  # opcodes; chosen: text that is no pickle ends after a few
_SENTENCEPIECE: Final = {(number, BYTES) for number in range(1, 6)}
"""Fields of a SentencePiece model: pieces, specifications and test data."""


def examine_companion(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Look for what can run code in a companion file.

    Raises:
        FormatRefused: A key of a JSON object appears twice, so that readers disagree on its value.
    """
    if not is_companion(source.name):
        return Examination()  # known by its fields: a SavedModel's fingerprint
    if source.size > limits.header_bytes:
        most = limits.header_bytes
        return not_checked(source.name, f"{source.size} bytes: companions are read up to {most}")
    try:
        require_text(source.size, where=source.name)
        with source.stream() as stream:
            data = stream.read()
        found = _hidden(data, source.name, limits, allowed)
    except LimitExceeded as error:
        return not_checked(source.name, str(error))
    if found.findings or found.unchecked:
        return found
    suffix = PurePosixPath(source.name).suffix.lower()
    if not suffix and data[:1] in {b"{", b"["}:
        suffix = ".json"  # Orbax
    if b"\0" not in data:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return _examine_text(text, suffix, source.name, allowed)
    if suffix == ".model" and _is_sentencepiece(data, source.name, limits):
        return Examination()
    return not_checked(source.name, "not UTF-8 text")


def _examine_text(text: str, suffix: str, name: str, allowed: Collection[str]) -> Examination:
    templates = ChatTemplates(name)
    if suffix == ".jinja":
        return templates.examine(text, "")
    try:
        value = _settings(text, suffix, name)
    except (ValueError, RecursionError) as error:
        return not_checked(name, f"not readable settings: {str(error)[:200]}")
    except (LimitExceeded, MissingExtra) as error:
        return not_checked(name, str(error))
    found = examine_settings(value, name, allowed, templates.examine)
    return found | examine_references(value, name) if suffix == ".json" else found


def _settings(text: str, suffix: str, name: str) -> Any:
    """Parsed settings, or None for other text."""
    if suffix == ".json":
        try:
            return parse_json(text, what=name, error=FormatRefused, constants=True)
        except FormatRefused as error:
            if type(error.__cause__) is ValueError:
                raise  # plain parsers accept it
            raise ValueError("not JSON") from error
    if suffix == ".toml":
        return parse_toml(text, what=name, error=ValueError)
    if suffix not in {".yaml", ".yml"} and PurePosixPath(name).name != "MLmodel":
        return None
    try:
        return parse_yaml(text, what=name, depth=_DEPTH)
    except MissingExtra:
        if may_name_code(text):
            raise
        return None


def _hidden(data: bytes, name: str, limits: Limits, allowed: Collection[str]) -> Examination:
    """Findings about a program, or a pickle, under a companion's name."""
    kind = program(data[:4096])
    if kind is not None:
        finding = Finding(
            rule="executable",
            severity=Severity.HIGH,
            message=f"{kind} under the name of a text; remove it",
            where="",
            artifact=name,
        )
        return Examination(findings=(finding,))
    return _pickled(data, name, limits, allowed)


def _pickled(data: bytes, name: str, limits: Limits, allowed: Collection[str]) -> Examination:
    """Findings of the pickles that a file starts with; text that is no pickle has none.

    Text may begin as a pickle does (`cat`, `dog` on two lines import `at.dog`). It counts as one if
    it is whole, or has made a call where it ends.
    """
    names = pickle_globals() | frozenset(allowed)
    limits = dataclasses.replace(limits, opcodes=min(limits.opcodes, _OPCODES))
    walker = Walker(allowed=names, limits=limits, artifact=name, where="pickle")
    stream, whole, failed = io.BytesIO(data), False, 0
    try:
        while walker.run(stream).end < len(data):
            whole = True
        whole = True
    except (ContentRefused, RecursionError) as error:
        if isinstance(error, LimitExceeded):
            raise
        failed = int(isinstance(error.__cause__, (IndexError, KeyError, TypeError)))
    # A reference outside the pickle fails in every reader that is not made for it.
    found = tuple(each for each in walker.walk.findings if each.rule != "pickle-persistent")
    if found and (whole or has_called(data, walker.walk.opcodes - failed)):
        return Examination(findings=found)
    imports = [each for each in found if each.rule == "pickle-global"]
    if any(_standard(each.message) for each in imports):
        return not_checked(name, "text that pickle reads as an import of a standard module")
    return Examination()


def _standard(message: str) -> bool:
    return message.partition("imports ")[2].partition(".")[0] in sys.stdlib_module_names


def _is_sentencepiece(data: bytes, name: str, limits: Limits) -> bool:
    reader = ProtobufReader(io.BytesIO(data), len(data), where=name, limits=limits)
    try:
        fields = {(field.number, field.kind) for field in reader.fields(reader.whole)}
    except ContentRefused:
        return False
    return (1, BYTES) in fields and fields <= _SENTENCEPIECE
