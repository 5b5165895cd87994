"""Hostile companions: chat templates, settings, and what hides under the name of a text."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.attackers.loading import Touch

_U = "{% set u = 'a_b'[1] %}{% set d = u ~ u %}"
TEMPLATES: dict[str, str] = {
    "joined text": "{% set u = 'a_b'[1] %}{% set d = u ~ u %}{{ ()[d ~ 'class' ~ d] }}",
    "format filter": "{{ ()['%c%cclass%c%c' | format(95, 95, 95, 95)] }}",
    "join filter": "{{ ()[['', '', 'class', '', ''] | join('a_b'[1])] }}",
    "map with attr": (
        "{% set u = 'a_b'[1] %}{% set d = u ~ u %}{{ [()] | map('attr', d ~ 'class' ~ d) | list }}"
    ),
    "map attribute": (
        "{% set u = 'a_b'[1] %}{% set d = u ~ u %}{{ [()] | map(attribute=d ~ 'class' ~"
        " d) | list }}"
    ),
    "module os": (
        "{% set u = 'a_b'[1] %}{% set d = u ~ u %}{{ cycler[d ~ 'init' ~ d][d ~ 'global"
        "s' ~ d]['os'].getpid() }}"
    ),
    "fmt2": "{% set u = '%c'|format(95) %}{{ ''[u~u~'class'~u~u] }}",
    "literal set": "{% set k = '__class__' %}{{ ()[k] }}",
    "list elem": "{% set l = ['__class__'] %}{{ ()[l[0]] }}",
    "dict elem": "{% set l = {'a': '__class__'} %}{{ ()[l.a] }}",
    "append": "{% set l = [] %}{% set _ = l.append('__class__') %}{{ ()[l[0]] }}",
    "ns": "{% set ns = namespace(x='') %}{% set ns.x = '__class__' %}{{ ()[ns.x] }}",
    "macro": "{% macro m(a) %}{{ ()[a] }}{% endmacro %}{{ m('__class__') }}",
    "macro kw": "{% macro m(a='__class__') %}{{ ()[a] }}{% endmacro %}{{ m() }}",
    "macro text": "{% macro m() %}__class__{% endmacro %}{{ ()[m()] }}",
    "block text": "{% set k %}__class__{% endset %}{{ ()[k] }}",
    "for": "{% for k in ['__class__'] %}{{ ()[k] }}{% endfor %}",
    "for kv": "{% for k, v in {'__class__': 1}.items() %}{{ ()[k] }}{% endfor %}",
    "loopprev": "{% for k in ['__class__', 'b'] %}{{ ()[loop.previtem] }}{% endfor %}",
    "mul": "{{ ()['_' * 2 ~ 'class' ~ '_' * 2] }}",
    "mod": "{{ ()['%cclass' % 95] }}",
    "plus": "{{ ()['_' + '_class__'] }}",
    "replace": "{{ ()['--class--'|replace('-', '_')] }}",
    "replace m": "{{ ()['--class--'.replace('-', '_')] }}",
    "lower": "{{ ()['__CLASS__'|lower] }}",
    "slice": "{{ ()['x__class__'[1:]] }}",
    "rev": "{{ ()['__ssalc__'|reverse] }}",
    "token": "{{ ()[bos_token] }}",
    "token plus": "{% set u = eos_token[3] %}{{ ()[u + u + eos_token[4:9] + u + u] }}",
    "default": "{{ ()[nope|default('__class__')] }}",
    "cond": "{{ ()['__class__' if true else 'a'] }}",
    "or": "{{ ()[nope or '__class__'] }}",
    "get": "{{ ()[{}.get('a', '__class__')] }}",
    "with": "{% with k = '__class__' %}{{ ()[k] }}{% endwith %}",
    "self": "{% block x %}__class__{% endblock %}{{ ()[self.x()] }}",
    "caller": (
        "{% macro m() %}{{ ()[caller()] }}{% endmacro %}{% call m() %}__class__{% endcall %}"
    ),
    "strformat": "{{ '{0.__class__}'.format(x) }}",
    "strformat2": "{% set f = '{0.__class__}' %}{{ f.format(x) }}",
    "strformat3": "{% set f = '{0.' ~ '_' ~ '_class__}' %}{{ f.format(x) }}",
    "gi": "{{ (()|map('int')).gi_frame.f_builtins }}",
    "gi2": "{{ (()|map('int'))['gi_' ~ 'frame'] }}",
    "strftime": "{{ ()[strftime_now('__class__')] }}",
    "split": "{{ ()['a __class__'.split(' ')[1]] }}",
    "first": "{{ ()[['__class__']|first] }}",
    "dyn": "{{ [()]|map(**{'attribute': '__class__'})|list }}",
    "sortattr": "{{ [()]|sort(attribute='__class__') }}",
    "groupby": "{{ [()]|groupby('__class__') }}",
    "selectattr": "{{ [()]|selectattr('__class__')|list }}",
    "nested map": "{{ [[()]]|map('map', attribute='__class__')|list }}",
    "cycler": "{% set c = cycler('__class__') %}{{ ()[c.next()] }}",
    "cyc2": "{% set c = cycler('__class__') %}{{ ()[c.current] }}",
    "joiner": "{% set j = joiner('__class__') %}{{ j() }}{{ ()[j()] }}",
    "dict()": "{% set d = dict(a='__class__') %}{{ ()[d['a']] }}",
    "filterblk": "{% filter attr('x') %}{% endfilter %}",
    "string chars": "{% set s = x|string %}{{ ()[s[1] + s[2]] }}",
    "escape": "{{ ()['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "urlencode": "{{ ()['%5F%5Fclass'|urlencode] }}",
    "tojson": "{{ ()[('__class__'|tojson)[1:-1]] }}",
    "concat of a slice and a literal": "{% set n = 'x__' %}{{ ()[n[1:] ~ 'class' ~ n[1:]] }}",
    "sum of lists": "{% set l = [] + ['__class__'] %}{{ ()[l[0]] }}",
    "list of a literal": "{{ ()[('__class__,'|list|join)[:-1]] }}",
    "format field of a frame": "{{ '{0.gi_frame.f_globals}'.format(()|map('int')) }}",
    "update of a dict": (
        "{% set d = {} %}{% set _ = d.update({'a': '__class__'}) %}{{ ()[d['a']] }}"
    ),
    "filter applied by map": "{{ [()]|map('map', 'attr', '__class__')|list }}",
}
"""Ways to get an attribute whose name the text does not hold, or holds elsewhere."""
SETTINGS: dict[str, tuple[str, str, str]] = {
    "hydra": ("config.yaml", "model:\n  _target_: os.system\n  command: 'true'\n", "os.system"),
    "hydra through an alias": (
        "config.yaml", "x: &a subprocess.call\nm: {_target_: *a}\n", "subprocess.call"),
    "hydra by escapes": ("c.yaml", '"\\x5ftarget_": posix.system\n', "posix.system"),
    "hydra over two lines": ("c.yaml", '? "_tar\\\n  get_"\n: pty.spawn\n', "pty.spawn"),
    "hydra in the second document": ("c.yml", "a: 1\n---\n_target_: my.Net\n", "my.Net"),
    "hydra under a repeated key": ("c.yml", "a: {_target_: my.Net}\na: 1\n", "my.Net"),
    "a name through torch": (
        "config.json", json.dumps({"_target_": "torch.nn.parallel.distributed.os.system"}),
        "torch.nn.parallel.distributed.os.system"),
    "torchtune": ("recipe.yaml", "model:\n  _component_: evil.model\n", "evil.model"),
    "python tag": ("a.yml", "a: !!python/object/apply:os.system ['true']\n", "os.system"),
    "python name tag": ("a.yml", "- !!python/name:evil.run ''\n", "evil.run"),
    "verbatim tag": ("a.yml", "a: !<tag:yaml.org,2002:python/object/new:x.Y> {}\n", "x.Y"),
    "tag by a handle": (
        "a.yml", "%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!name:x.y ''\n", "x.y"),
    "tag of a key": ("a.yml", "? !!python/module:evil ''\n: 1\n", "evil"),
    "Java's tag": ("a.yml", "!!javax.script.ScriptEngineManager [1]\n",
                   "javax.script.ScriptEngineManager"),
    "HyperPyYAML": ("hyperparams.yaml", "a: !new:evil.Net\n  b: 1\n", "evil.Net"),
    "HyperPyYAML apply": ("hyperparams.yaml", "a: !apply:os.system [ls]\n", "os.system"),
    "toml": ("config.toml", '[model]\n_target_ = "os.system"\n', "os.system"),
    "toml dotted": ("config.toml", 'model."_target_" = "os.system"\n', "os.system"),
    "auto_map": ("config.json", json.dumps({"auto_map": {"AutoModel": "modeling_x.X"}}),
                 "modeling_x.X"),
    "auto_map of tokenizers": (
        "tokenizer_config.json", json.dumps({"auto_map": {"AutoTokenizer": ["tok.Slow", None]}}),
        "tok.Slow"),
    "modules": ("modules.json", json.dumps([{"idx": 0, "path": "", "type": "evil"}]), "evil"),
    "router": ("router_config.json", json.dumps({"types": {"q": "evil.Module"}}), "evil.Module"),
    "diffusers": ("model_index.json", json.dumps({"unet": ["my_code", "Net"]}), "my_code.Net"),
    "diffusers pipeline": (
        "model_index.json", json.dumps({"_class_name": ["my_pipeline", "Pipe"]}),
        "my_pipeline.Pipe"),
    "peft": ("adapter_config.json",
             json.dumps({"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}),
             "os.X"),
    "mlflow": ("MLmodel", "flavors:\n  python_function:\n    loader_module: evil\n", "evil"),
    "mlflow from code": ("MLmodel", "flavors:\n  x:\n    model_code_path: a.py\n", "a.py"),
    "mlserver": ("model-settings.json", json.dumps({"implementation": "models.Mine"}),
                 "models.Mine"),
    "latent diffusion": ("v1.yaml", "model:\n  target: ldm.evil.Run\n", "ldm.evil.Run"),
    "lightning": ("config.yaml", "model:\n  class_path: evil.Net\n", "evil.Net"),
    "activation": ("config.json", json.dumps({"activation_fn": "evil.run"}), "evil.run"),
    "impl": ("config.json", json.dumps({"a": [{"impl": "evil.run"}]}), "evil.run"),
    "jsonpickle": ("m.json", json.dumps({"py/object": "evil.Net"}), "evil.Net"),
    "jsonpickle reduce": ("m.json", json.dumps({"a": {"py/reduce": [1]}}), "py/reduce"),
    "file of Python": ("config.json", json.dumps({"custom": "src/run.py"}), "src/run.py"),
    "any key": ("config.json", json.dumps({"hooks": ["builtins.eval"]}), "builtins.eval"),
    "BentoML service": ("bentofile.yaml", "service: 'evil.service:Api'\n", "evil.service:Api"),
    "fairseq user folder": ("config.yaml", "common:\n  user_dir: ./plug_in\n", "./plug_in"),
    "OpenMMLab imports": (
        "config.json", json.dumps({"custom_imports": {"imports": ["evil.ops"]}}), "evil.ops"),
    "ONNX Runtime GenAI library": (
        "genai_config.json",
        json.dumps({"model": {"decoder": {"session_options": {"custom_ops_library": "a.so"}}}}),
        "a.so"),
    "TorchServe handler": (
        "MANIFEST.json", json.dumps({"model": {"handler": "handler.py"}}), "handler.py"),
    "Cog predictor": ("cog.yaml", "predict: predict.py:Predictor\n", "predict.py:Predictor"),
    "YAML module tag": ("a.yaml", "a: !!python/module:antigravity\n", "antigravity"),
    "YAML new object": (
        "a.yaml", "a: !!python/object/new:subprocess.Popen [[true]]\n", "subprocess.Popen"),
    "YAML of several documents": ("a.yaml", "a: 1\n---\n_target_: os.popen\n", "os.popen"),
    "merged mapping": ("a.yaml", "b: &b {_target_: pty.spawn}\na:\n  <<: *b\n", "pty.spawn"),
    "a key in another mapping's key": (
        "a.yaml", "? {_target_: evil.run}\n: 1\n", "evil.run"),
    "TOML target": ("a.toml", "[model]\n_target_ = 'evil.run'\n", "evil.run"),
    "hidden by escapes in JSON": (
        "config.json", '{"\\u005ftarget\\u005f": "evil.run"}', "evil.run"),
    "list of targets": (
        "config.json", json.dumps({"callbacks": [{"_target_": "evil.run"}]}), "evil.run"),
}  # fmt: skip
"""Name of a file, its text, and the target that a finding names."""


def disguised(trace: Path) -> dict[str, bytes]:
    """Pickles, programs and archives under a companion's name."""
    old = b"cposix\nmkdir\n(S'" + str(trace).encode() + b"'\ntR"
    return {
        "vocab.txt": old + b".",
        "LICENSE": old + b"\nrest of a licence",
        "README": b"I1\n." + old + b".",
        "merges.txt": b"(S'" + str(trace).encode() + b"'\niposix\nmkdir\n.",
        "tokenizer.model": pickle.dumps(Touch(trace), protocol=1),
        "spiece.model": pickle.dumps(Touch(trace), protocol=0),
        "config.yaml": old + b".",
        "notes.md": b"\x80\x04" + pickle.dumps(Touch(trace), protocol=4)[2:],
        "NOTICE": b"#!/bin/sh\necho\n",
        "a.txt": b"\x7fELF\x02\x01\x01" + bytes(57),
        "b.txt": b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(20),
        "c.toml": b"\xcf\xfa\xed\xfe" + bytes(28),
        "d.json": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "e.rst": zipped(b"cposix\nsystem\n."),
    }


def zipped(data: bytes) -> bytes:
    """An archive of one pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.pkl", data)
    return buffer.getvalue()


def nemo(path: Path, settings: str) -> None:
    """A tar archive of settings, as NeMo writes them."""
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("model_config.yaml")
        info.size = len(settings.encode())
        archive.addfile(info, io.BytesIO(settings.encode()))


def compiled_with(module: str | None, name: str, **more: Any) -> dict[str, Any]:
    """A function among the losses of a Keras configuration."""
    found = {"class_name": "function", "module": module, "config": name}
    return found | {"registered_name": "function"} | more
