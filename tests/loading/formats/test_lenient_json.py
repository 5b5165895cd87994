"""JSON that a lenient parser accepts and the strict one does not hides nothing from the scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops.loading import scan
from tests.attackers.model_files import field, graph, saved_model

LAMBDA = '"class_name": "Lambda"'


@pytest.mark.parametrize(
    "metadata",
    [f"{{{LAMBDA}, {LAMBDA}}}", '{"a":' * 600 + f"{{{LAMBDA}}}" + "}" * 600],
    ids=["repeated key", "deep"],
)
def test_metadata_of_a_saved_model_that_keras_could_read_is_refused(
    tmp_path: Path, metadata: str
) -> None:
    objects = field(7, field(1, field(4, field(1, "_tf_keras_layer") + field(3, metadata))))
    (tmp_path / "saved_model.pb").write_bytes(saved_model(graph("Const"), objects))
    assert [found.rule for found in scan(tmp_path).findings] == ["malformed"]


def test_a_template_under_a_repeated_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text('{"chat_template": "{{ x.__class__ }}", "chat_template": "a"}')
    assert [found.rule for found in scan(file).findings] == ["malformed"]
