"""Descriptions of rules: what a finding of each means, and what a person should do next.

rule → one sentence about it, and advice → SARIF's descriptions and help texts

A rule without a row of its own has that of its family, which is its name up to a hyphen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RuleText:
    """Description of a rule.

    Attributes:
        about: What was found, in one sentence.
        advice: What to do next.
    """

    about: str
    advice: str


_CODE: Final = (
    "Do not load the file. Ask its publisher for weights without code (safetensors), or extract "
    "its tensors in a sandbox with 'mlsecops convert'. Only if the named code was audited and you "
    "need it, name it with --allow-global."
)
_DAMAGED: Final = (
    "Get the file again from its source and compare its digest with the published one. If it is "
    "still refused, its writer is at fault or it was made to mislead parsers: do not load it."
)
_CUSTOM: Final = (
    "Do not load the file unless you know whose code it needs. If that code was audited, name it "
    "with --allow-global; else ask for a model of the framework's own parts."
)
_STATE: Final = (
    "Do not load the file: compiled code would read or write outside its arrays. Get it again, or "
    "let its publisher save it again with a current version of the library."
)
_ROWS: Final = {
    "allowed-by-name": RuleText(
        "Something that would be refused passes because it was allowed by name.",
        "Check that the exception is still needed, and drop --allow-global where it is not.",
    ),
    "archive": RuleText("An entry of an archive leaves it, or is no plain file.", _DAMAGED),
    "changed-during-load": RuleText(
        "The file changed while it was read.",
        "Stop whatever writes to it, and scan again.",
    ),
    "chat-template": RuleText(
        "The model brings a chat template, which its tokenizer renders.",
        "Read the template if you did not write it; render it only in jinja2's sandbox.",
    ),
    "chat-template-internals": RuleText(
        "A chat template reaches for Python's internals, which is how templates run code.",
        "Do not render it. Replace the template by the one of the original model.",
    ),
    "check-failed": RuleText(
        "The check itself failed, so nothing is known about the file.",
        "Do not load the file, and report the message with a file that shows it.",
    ),
    "class-imbalance": RuleText(
        "Classes of a data set differ much in size.",
        "Decide whether that is meant; screening is weak on very small classes.",
    ),
    "code-format": RuleText("The format carries code, which no scan can analyse.", _CODE),
    "coreml": RuleText("A Core ML model needs code that it does not bring.", _CUSTOM),
    "excluded": RuleText(
        "Files were left out of the scan by request.",
        "Keep --exclude as narrow as possible; what it covers is not known to be harmless.",
    ),
    "executable": RuleText("A program lies under the name of a data file.", "Remove the file."),
    "executorch": RuleText("An ExecuTorch program calls operators outside the known.", _CUSTOM),
    "foreign-code": RuleText("The file carries code or names code to run.", _CODE),
    "fuzz": RuleText(
        "An attack on a language model succeeded, or could not be judged.",
        "Read prompt and answer in the report, and put a guard in front of the model.",
    ),
    "graph": RuleText("A graph holds operators outside the known.", _CUSTOM),
    "hdf5": RuleText(
        "An HDF5 file holds links, filters or objects that reach outside its data.", _DAMAGED
    ),
    "keras": RuleText("A Keras configuration names code to run.", _CODE),
    "limit-exceeded": RuleText(
        "The file declares or needs more than the limits of a scan.",
        "If it is meant to be so large, scan it with raised Limits; else do not load it.",
    ),
    "malformed": RuleText("The file is not what its format or name says.", _DAMAGED),
    "name-not-relative": RuleText("A name leaves the folder or store.", "Rename the object."),
    "name-not-utf8": RuleText("A name is not UTF-8, so no manifest can hold it.", "Rename it."),
    "not-a-regular-file": RuleText(
        "A link, pipe, socket or device stands where a file is expected.",
        "Put the file itself there, or leave the entry out with --exclude.",
    ),
    "numpy-object-array": RuleText("An array of objects is a pickle.", _CODE),
    "onnx": RuleText("An ONNX graph holds operators outside the known domains.", _CUSTOM),
    "outside-reference": RuleText(
        "A model reads a file outside its folder, or past the end of one.",
        "Do not load it. Get the whole folder again from its publisher.",
    ),
    "pickle": RuleText("Unpickling the file would call something that is not allowed.", _CODE),
    "pickle-frame": RuleText(
        "Two readers would see two different pickles in the file, which no writer makes.", _CODE
    ),
    "pickle-global": RuleText("A pickle imports a name that is not on the allowlist.", _CODE),
    "pickle-state": RuleText("A pickle holds a state that compiled code would trust.", _STATE),
    "poisoning": RuleText(
        "Samples of a data set look poisoned or mislabelled.",
        "Look at the rows that the report names, and train without them or with corrected labels.",
    ),
    "r": RuleText("An R file holds functions or promises, which run where they are used.", _CODE),
    "robustness": RuleText(
        "The model's accuracy under attack is below the gate, or could not be judged.",
        "Do not release it: harden it (adversarial training), or correct the gate with a reason.",
    ),
    "savedmodel": RuleText("A SavedModel's graph holds operations that are not allowed.", _CUSTOM),
    "settings-code": RuleText("Settings name code that their reader imports and runs.", _CODE),
    "single-column-label": RuleText(
        "One column alone decides the label of a table.",
        "Check that the column is no copy of the label, which leaks the answer into training.",
    ),
    "skops": RuleText("A skops file names a class or state that is not allowed.", _CODE),
    "skops-state": RuleText("A skops file holds a state that compiled code trusts.", _STATE),
    "tflite": RuleText("A TensorFlow Lite model needs operators of another library.", _CUSTOM),
    "tree-index": RuleText("A tree points outside its arrays.", _STATE),
    "unchecked": RuleText(
        "A part of the artifact was not looked into; it is not known to be harmless.",
        "Scan it with a tool for its format, remove it, or leave it out with --exclude.",
    ),
    "unreadable": RuleText(
        "An entry cannot be read, so nothing is known about it.",
        "Scan as a user who may read it, or leave it out with --exclude.",
    ),
    "xml-entity": RuleText("An XML file defines entities, which expand without bound.", _DAMAGED),
}
_OTHER: Final = RuleText(
    "A check found something that its message describes.",
    "Read the message: it says what was expected, what is there and what to do.",
)


def rule_text(rule: str) -> RuleText:
    """Description of a rule, of its family, or of findings in general.

    Args:
        rule: Id of the rule.

    Examples:
        >>> rule_text("fuzz-leak").about
        'An attack on a language model succeeded, or could not be judged.'
    """
    return _ROWS.get(rule) or _ROWS.get(rule.partition("-")[0], _OTHER)


def has_text(rule: str) -> bool:
    """Whether a rule, or its family, has a row of its own."""
    return rule_text(rule) is not _OTHER
