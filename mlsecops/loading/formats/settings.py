"""Settings that name code to run: keys and tags of YAML, JSON and TOML, judged by allowlist.

parsed values → targets (dotted names, files of Python, tags) → findings of the unlisted ones

A target is allowed by its whole name: `torch.nn.parallel.distributed.os.system` resolves too.

Source: the loaders that import what a key names: Hydra (`_target_`), torchtune (`_component_`),
Lightning (`class_path`), MLflow (`loader_module`, `model_code_path`), MLServer (`implementation`),
Sentence Transformers (`modules.json`, `activation_fn`), BentoML (`service`), fairseq (`user_dir`),
OpenMMLab (`custom_imports`), ONNX Runtime GenAI (`custom_ops_library`), diffusers
(`model_index.json`), PEFT (`parent_library`), Transformers (`auto_map`), jsonpickle (`py/…`),
HyperPyYAML (`!new:`), PyYAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import settings_names
from mlsecops.loading.formats.json_walk import Place
from mlsecops.loading.formats.yaml_nodes import YamlDocuments, YamlMapping
from mlsecops.loading.verdict import Examination, Unchecked, unlisted

TEMPLATES: Final = frozenset({"chat_template", "template"})
_DEPTH: Final = 100  # levels; chosen: settings of models have fewer than ten; deeper is unchecked
_MOST_TARGETS: Final = 50_000  # targets; chosen: real settings have fewer than a thousand
_SHOWN: Final = 200  # characters of a target; chosen: a name's length, and a line's
_ALWAYS: Final = frozenset(
    {
        "_target_",
        "_component_",
        "auto_map",
        "custom_imports",
        "custom_ops_library",
        "loader_module",
        "model_code_path",
        "user_dir",
    }
)
"""Keys whose value is imported, whatever it looks like."""
_DOTTED: Final = frozenset(
    {"target", "class_path", "implementation", "impl", "service", "activation_fn",
     "activation_function", "default_activation_function", "sbert_ce_default_activation_function"}
)  # fmt: skip
"""Keys whose value is imported where it is a dotted name."""
_PICKLED_DATA: Final = frozenset(
    {"py/b64", "py/b85", "py/bytes", "py/id", "py/set", "py/seq", "py/tuple"}
)
"""Keys of jsonpickle that hold data; every other one names a class or function."""
_SYSTEM: Final = frozenset(
    {"builtins", "__builtin__", "ctypes", "importlib", "marshal", "nt", "os", "pickle", "posix",
     "pty", "runpy", "shutil", "subprocess", "webbrowser"}
)  # fmt: skip
"""Modules of Python that run commands or code: a dotted name through one is reported at any key."""
_NAME: Final = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")
_PYTHON_FILE: Final = re.compile(r"(?!https?://)\S+\.py[cwx]?(?:[:@#]\S*)?", re.IGNORECASE)
_FILE_ENDINGS: Final = frozenset(
    {"bin", "csv", "gguf", "json", "md", "npy", "npz", "onnx", "parquet", "pt", "pth",
     "safetensors", "tsv", "txt", "yaml", "yml"}
)  # fmt: skip
_TAG: Final = re.compile(r"!(?:new|name|apply|applyref|module):(.*)", re.DOTALL)
_PYTHON_TAG: Final = re.compile(
    r"tag:yaml\.org,2002:python/(?:name|module|object(?:/apply|/new)?):(.*)", re.DOTALL
)
_DATA_TAGS: Final = ("!ref", "!copy", "!tuple", "!PLACEHOLDER")
"""HyperPyYAML's references and tuples."""
_HINT: Final = re.compile(
    r"![\w<!]|\\[xuU\r\n]|_target_|_component_|auto_map|loader_module|model_code_path|class_path"
    r"|custom_imports|custom_ops_library|user_dir|\bservice\b"
    r"|implementation|\bimpl\b|\btarget\b|activation_f|parent_library|py/|\.py\b|template"
    rf"|\b(?:{'|'.join(sorted(_SYSTEM))})[.:]"
)


def may_name_code(text: str) -> bool:
    """Whether text holds a tag or key that this module looks at, whatever its structure.

    Examples:
        >>> may_name_code("a: 1"), may_name_code("a: !!python/name:os.system")
        (False, True)
    """
    return _HINT.search(text) is not None


def examine_settings(
    value: Any,
    artifact: str,
    allowed: Collection[str],
    template: Callable[[str, str], Examination],
) -> Examination:
    """Findings about what settings have imported, and about the chat templates inside.

    Args:
        value: Parsed JSON or TOML, or YAML documents.
        artifact: Name of the file.
        allowed: Names that the caller allows in addition.
        template: Examination of a chat template, from its text and place.
    """
    walk = _Settings(artifact, allowed, template)
    try:
        walk.run(value)
    except LimitExceeded as error:
        walk.result |= Examination(unchecked=(Unchecked(what=artifact, why=str(error)),))
    return walk.result | Examination(findings=tuple(walk.findings.values()))


class _Settings:
    """Traversal of one file's settings."""

    def __init__(
        self,
        artifact: str,
        allowed: Collection[str],
        template: Callable[[str, str], Examination],
    ) -> None:
        self.result = Examination()
        self.findings: dict[tuple[str, str], Finding] = {}
        self._artifact, self._allowed, self._template = artifact, allowed, template
        self._file = PurePosixPath(artifact).name
        self._targets, self._pace = 0, Pace(artifact)
        self._unknown_tag = False

    def run(self, value: Any) -> None:
        if isinstance(value, YamlDocuments):
            for tag, line in value.tags:
                self._tag(tag, line)
            value = value.values[0] if len(value.values) == 1 else value.values
        seen: set[int] = set()  # an alias leads to a value again; the tree keeps all ids alive
        pending = [(value, Place(""), 0)]
        while pending:
            self._pace.step()
            item, at, level = pending.pop()
            if level > _DEPTH:
                raise LimitExceeded(f"{self._artifact}: {at}: nested deeper than {_DEPTH}")
            if id(item) not in seen:
                seen.add(id(item))
                inner = self._look_into(item, at)
                pending += [(each, below, level + 1) for each, below in inner]

    def _look_into(self, item: Any, at: Place) -> list[tuple[Any, Place]]:
        """Judge one value; the lists and mappings inside it."""
        if isinstance(item, (dict, YamlMapping)):
            pairs = _pairs(item)
            self._mapping(pairs, at)
            inner = [(each, at / key) for key, each, _ in pairs if key not in TEMPLATES]
        elif isinstance(item, list):
            for n, each in enumerate(item):
                self._text(each, at / n, 0)
            inner = [(each, at / n) for n, each in enumerate(item)]
        else:
            self._text(item, at, 0)
            inner = []
        return [pair for pair in inner if isinstance(pair[0], (dict, list, YamlMapping))]

    def _mapping(self, pairs: list[tuple[str, Any, int]], at: Place) -> None:
        keys = {key: value for key, value, _ in pairs}
        module = self._file == "modules.json" or {"idx", "path", "type"} <= keys.keys()
        for key, value, line in pairs:
            place = at / key
            if key in TEMPLATES:
                self._templates(value, place, line)
            elif key in _ALWAYS or (module and key == "type"):
                self._targets_of(value, place, line)
            elif key in _DOTTED or key == "types":
                self._targets_of(value, place, line, dotted=True, below=key == "types")
            elif key == "parent_library" and value is not None:
                member = keys.get("base_model_class")
                name = f"{value}.{member}" if isinstance(member, str) else str(value)
                self._target(name, place, line)
            elif key.startswith("py/") and key not in _PICKLED_DATA:
                self._target(value if isinstance(value, str) else key, place, line)
            elif isinstance(value, list):
                self._component(key, value, place, line)
            else:
                self._text(value, place, line)

    def _targets_of(
        self, value: Any, at: Place, line: int, *, dotted: bool = False, below: bool = True
    ) -> None:
        """Every text that is the value, or in it."""
        if isinstance(value, str):
            if not dotted or _named(value):
                self._target(value, at, line)
            else:
                self._text(value, at, line)
        elif below and isinstance(value, list):
            for n, each in enumerate(value):
                self._count()
                self._targets_of(each, at / n, line, dotted=dotted, below=False)
        elif below and isinstance(value, (dict, YamlMapping)):
            for key, each, at_line in _pairs(value):
                self._count()
                nested = isinstance(each, list) and not dotted  # auto_map: [slow, fast]
                self._targets_of(each, at / key, at_line, dotted=dotted, below=nested)

    def _component(self, key: str, value: list[Any], at: Place, line: int) -> None:
        """A part of a diffusers pipeline: library and class."""
        index = "model_index" in self._file or key in {"_class_name", "type_hint"}
        library, name = (*value, None, None)[:2]
        if index and isinstance(library, str) and isinstance(name, str):
            pipeline = f"diffusers.pipelines.{library}.{name}"
            if pipeline not in settings_names():
                self._target(f"{library}.{name}", at, line)

    def _text(self, value: Any, at: Place, line: int) -> None:
        """A value at any key: a file of Python, or a name through a module of the system."""
        if not isinstance(value, str):
            return
        if _PYTHON_FILE.fullmatch(value):
            self._target(value, at, line)
        elif _named(value):
            parts = re.split("[.:]", value)
            if not _SYSTEM.isdisjoint(parts[:-1]):
                self._target(value, at, line)

    def _templates(self, value: Any, at: Place, line: int) -> None:
        """One chat template, or several under names."""
        pending = [(value, at)]
        while pending:
            item, place = pending.pop()
            if isinstance(item, str):
                self._count()
                self.result |= self._template(item, _where(place, line))
            elif isinstance(item, list):
                pending += [(each, place / n) for n, each in enumerate(item)]
            elif isinstance(item, (dict, YamlMapping)):
                pending += [(each, place / key) for key, each, _ in _pairs(item)]
            if len(pending) > _MOST_TARGETS:
                raise LimitExceeded(f"{self._artifact}: {place}: too many templates")
            self._count()

    def _tag(self, tag: str, line: int) -> None:
        found = _TAG.fullmatch(tag) or _PYTHON_TAG.fullmatch(tag)
        if found or tag.startswith("tag:yaml.org,2002:"):
            target = found[1] if found else tag.removeprefix("tag:yaml.org,2002:")
            self._target(target.strip() or tag, f"tag {tag[:80]}", line)
        elif not tag.startswith(_DATA_TAGS) and not self._unknown_tag:
            self._unknown_tag = True  # the first stands for all
            why = f"line {line}: tag {tag[:80]!r}, whose meaning its reader decides"
            self.result |= Examination(unchecked=(Unchecked(what=self._artifact, why=why),))

    def _target(self, name: str, at: object, line: int) -> None:
        self._count()
        if name in settings_names() or name in self._allowed:
            return
        found = unlisted(
            "settings-code",
            f"names code to run, {name[:_SHOWN]}, which is not on the allowlist",
            name[:_SHOWN],
            where=_where(at, line),
            artifact=self._artifact,
            severity=Severity.HIGH,
        )
        self.findings[found.where, found.message] = found

    def _count(self) -> None:
        self._targets += 1
        if self._targets > _MOST_TARGETS:
            raise LimitExceeded(
                f"{self._artifact}: expected at most {_MOST_TARGETS} names of code, got more"
            )


def _pairs(item: Any) -> list[tuple[str, Any, int]]:
    if isinstance(item, YamlMapping):
        return item.pairs
    return [(key, value, 0) for key, value in item.items()]


def _named(value: str) -> bool:
    """Whether text is a dotted name, and no file's."""
    return _NAME.fullmatch(value) is not None and (
        re.split("[.:]", value)[-1].lower() not in _FILE_ENDINGS
    )


def _where(at: object, line: int) -> str:
    return f"line {line}: {at}" if line else str(at)
