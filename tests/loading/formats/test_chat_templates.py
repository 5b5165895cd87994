"""Chat templates: attribute names put together from parts are refused, ordinary work is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlsecops.loading import scan
from mlsecops.loading.formats.chat_templates import ChatTemplates
from tests.attackers.companions import TEMPLATES

pytest.importorskip("jinja2")
ORDINARY: dict[str, str] = {
    "spaces for underscores": "{{ tool.name | replace('_', ' ') }}",
    "split of a role": "{% set parts = role.split('_') %}{{ parts[0] }}",
    "a token with underscores": "__start__{{ messages[0].content }}__end__",
    "loop": (
        "{% for m in messages %}{% if messages[loop.index0 - 1]['role'] == 'user' %}{{ "
        "bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}{% endif %}{% endf"
        "or %}"
    ),
    "idx": (
        "{{ tools[i]['name'] }}{{ x[n // 2 + 1] }}{{ x[-1] }}{{ x[a.b] }}{{ x[name] }}{"
        "{ x[m['role']] }}"
    ),
    "sysmsg": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_message"
        "s = messages %}{% endif %}{% for message in loop_messages %}{% set content = '"
        "<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['conte"
        "nt'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_tok"
        "en + content %}{% endif %}{{ content }}{% endfor %}"
    ),
    "roles": (
        "{% set roles = {'user': 'Human', 'assistant': 'AI'} %}{% for m in messages %}{"
        "{ roles[m.role] }}: {{ roles[m['role'] | lower] }}{% endfor %}"
    ),
    "prepend": (
        "{% set messages = [{'role': 'system', 'content': s}] + messages[1:] %}{% for m"
        " in messages %}{{ roles[m.role] }}{{ m['content'] }}{% endfor %}"
    ),
    "qwen": (
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- for tool in tools %}"
        "{{- tool | tojson }}{%- endfor %}\n{%- endif %}{%- set ns = namespace(multi_ste"
        "p_tool=true, last_query_index=messages|length - 1) %}{%- for message in messag"
        "es[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.mul"
        "ti_step_tool and message.role == 'user' and not(message.content.startswith('<t"
        "ool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns"
        ".multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{"
        "%- endfor %}{%- for message in messages %}{%- set content = message.content %}"
        "{%- set reasoning_content = '' %}{%- if '</think>' in message.content %}{%- se"
        "t content = message.content.split('</think>')[-1].lstrip('\\n') %}{%- set reaso"
        "ning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think"
        ">')[-1].lstrip('\\n') %}{%- endif %}{{ messages[loop.index0 - 1].role }}{{ cont"
        "ent }}{%- endfor %}"
    ),
    "macro": (
        "{% macro render(param, name) %}{{ param['type'] }} {{ name | upper }} {{ param"
        "[name] }}{% endmacro %}{{ render(tools[0], 'x') }}"
    ),
    "gen": ("{% generation %}{{ messages[0].content }}{% endgeneration %}{% do x.append(1) %}"),
    "format": (
        "{{ '%s: %d' | format(name, 3) }}{{ '{:02d}'.format(3) }}{{ date.strftime('%Y_%m') }}"
    ),
    "func_name": "{{ call.func_name }}{{ call['f_score'] }}",
    "selectattr": (
        "{{ messages|selectattr('role','equalto','user')|map(attribute='content')|join("
        "'_') }}{{ tools|map(attribute='function.name')|list|sort }}{{ d|dictsort }}{{ "
        "xs|map('replace','_',' ')|join(', ') }}"
    ),
    "ns idx": (
        "{% set ns = namespace(i=0) %}{% for m in messages %}{% set ns.i = ns.i + 1 %}{"
        "{ messages[ns.i] }}{{ messages[ns.i - 1] }}{% endfor %}"
    ),
    "keys": (
        "{% for key in args %}{{ key }}={{ args[key] }}{% endfor %}{% for k, v in tool."
        "items() %}{{ k }}{{ tool[k] }}{% endfor %}{% for k in tool.parameters.properti"
        "es.keys()|list %}{{ tool.parameters.properties[k].type }}{% endfor %}{% for k "
        "in d|dictsort %}{{ d[k[0]] }}{% endfor %}"
    ),
    "default": (
        "{{ roles[m.role | default('user')] }}{{ roles[m.role or 'user'] }}{{ roles[m.g"
        "et('role', 'user')] }}"
    ),
    "count": "{{ s[s.find('x') + 1] }}{{ x[y|length - 1] }}{{ x[y | int] }}",
    "cut": "{{ content[:10] }}{{ content[5:] }}{{ content.split('_')[1:] | join('_') }}",
    "prefixed": "{{ m['content_' ~ lang] }}",
    "strftime": (
        "{{ strftime_now('%Y-%m-%d') }}{% if strftime_now is defined %}{% set date_stri"
        "ng = strftime_now('%d %b %Y') %}{% endif %}{{ raise_exception('a__b') }}"
    ),
}


def rules(text: str) -> list[str]:
    found = ChatTemplates("chat_template.jinja").examine(text, "")
    return [each.rule for each in found.findings]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_name_put_together_from_parts_is_refused(name: str) -> None:
    assert rules(TEMPLATES[name]) == ["chat-template-internals"]


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_ordinary_work_on_text_is_information(name: str) -> None:
    assert rules(ORDINARY[name]) == ["chat-template"]


def test_templates_of_every_file_are_judged_alike(tmp_path: Path) -> None:
    hostile = TEMPLATES["format filter"]
    for name, text in {
        "chat_template.jinja": hostile,
        "tokenizer_config.json": json.dumps({"chat_template": {"a": "x", "b": hostile}}),
        "prompts.yaml": json.dumps({"chat_template": [{"name": "a", "template": hostile}]}),
    }.items():
        (tmp_path / name).write_text(text)
        verdict = scan(tmp_path / name)
        assert verdict.refused, name
        assert "chat-template-internals" in {each.rule for each in verdict.findings}


@pytest.mark.parametrize(
    "text",
    ["{{ x", "{{ " + "(" * 5000, "{% include 'a' %}", "x" * 200_001, "{{ [" + "[" * 300,
     "{% macro m() %}{% endmacro %}{% set f = m %}"],
    ids=["unfinished", "deep", "include", "long", "brackets", "macro as a value"],
)  # fmt: skip
def test_what_cannot_be_judged_is_unchecked(text: str) -> None:
    found = ChatTemplates("a.jinja").examine(text, "")
    assert found.unchecked
    assert not found.findings


def test_the_templates_of_a_file_share_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({"chat_template": ["{{ a[b] }}" * 5000] * 20}))
    assert scan(file).unchecked


def test_without_jinja2_what_the_pattern_does_not_find_is_unchecked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr("mlsecops._extras.importlib.import_module", missing)
    scanner = ChatTemplates("a.jinja")
    assert [each.rule for each in scanner.examine("{{ x.__class__ }}", "").findings] == [
        "chat-template-internals"
    ]
    found = scanner.examine("{{ x }}", "")
    assert not found.findings
    assert "mlsecops-sdk[settings]" in found.unchecked[0].why
