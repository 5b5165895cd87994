"""Declared licences as CycloneDX licence choices.

text of a licence → SPDX identifier, SPDX expression or plain name

Source: CycloneDX 1.6 and 1.7, licenses; SPDX specification 2.3, annex D (licence expressions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from mlsecops._extras import require

_SPDX_OF: Final = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd-2-clause license": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mit licence": "MIT",
    "the mit license": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psfl": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "zope public license": "ZPL-2.1",
}
"""Customary name in lower case → SPDX identifier, where it means only one licence."""

_REFERENCES: Final = ("LicenseRef-", "DocumentRef-")
_LONGEST: Final = 2000  # characters; chosen: bounds the parser's time


def license_choices(declared: Iterable[str]) -> list[dict[str, Any]]:
    """The declared licences of a component as its CycloneDX `licenses`.

    An SPDX expression stands alone, as versions before 1.7 demand; with several declarations it
    becomes a name.

    Examples:
        >>> license_choices(["MIT License"])
        [{'license': {'id': 'MIT', 'acknowledgement': 'declared'}}]
    """
    texts = list(dict.fromkeys(text.strip() for text in declared if text.strip()))
    if len(texts) == 1 and _is_compound(texts[0]):
        return [{"expression": _expression(texts[0]), "acknowledgement": "declared"}]
    return [{"license": {**_license(text), "acknowledgement": "declared"}} for text in texts]


def is_expression(text: str) -> bool:
    """Whether a text is an SPDX licence expression, of known licences or `LicenseRef-` ones."""
    return _parsed(text) is not None


def license_names(component: Mapping[str, Any]) -> list[str]:
    """Licences of a component as texts: expressions, SPDX identifiers or plain names."""
    return [
        str(each.get("expression") or chosen.get("id") or chosen.get("name", ""))
        for each in component.get("licenses", ())
        for chosen in [each.get("license", {})]
    ]


def _license(text: str) -> dict[str, str]:
    identifier = _SPDX_OF.get(text.lower(), text)
    known = require("cyclonedx.spdx")
    fixed = known.fixup_id(identifier)
    return {"id": str(fixed)} if fixed is not None else {"name": text}


def _is_compound(text: str) -> bool:
    words = set(text.upper().replace("(", " ").split())
    return bool({"AND", "OR", "WITH"} & words) and is_expression(text)


def _expression(text: str) -> str:
    return str(_parsed(text))


def _parsed(text: str) -> Any | None:
    """The parsed expression, or None if it does not parse or names an unknown licence."""
    if len(text) > _LONGEST:
        return None
    library, licensing = require("license_expression"), _licensing()
    try:
        parsed = licensing.parse(text)
        unknown = [] if parsed is None else licensing.unknown_license_keys(parsed)
    except (library.ExpressionError, library.ParseError, AttributeError, RecursionError):
        return None
    return parsed if all(str(each).startswith(_REFERENCES) for each in unknown) else None


@cache
def _licensing() -> Any:
    return require("license_expression").get_spdx_licensing()
