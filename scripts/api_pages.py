"""API reference pages: a page for each task, with every public name of its packages.

Writes `docs/api/*.md` from `PAGES` and the packages' `__all__`; mkdocstrings fills them with
signatures and docstrings when the site is built. A name that several packages export is documented
with the lowest of them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "docs" / "api"

PAGES: Final = {
    "data": ("Data, provenance and lineage", "data", "provenance"),
    "signing": ("Signing and trust", "signing", "signing integrations.sigstore"),
    "loading": ("Loading and scanning", "loading", "loading adapters"),
    "robustness": ("Robustness", "robustness", "robustness"),
    "poisoning": ("Poisoning", "poisoning", "poisoning"),
    "monitoring": ("Monitoring", "monitoring", "readings monitoring"),
    "drift": ("Baselines and drift", "drift", "drift"),
    "extraction": ("Model extraction", "extraction", "extraction"),
    "llm": ("Language models", "llm", "llm"),
    "registry": ("Registry and audit log", "registry", "audit registry"),
    "access": ("Access", "access", "access"),
    "incident": ("Incidents", "incident", "findings incident"),
    "reports": ("Reports and deliverables", "deliverables", "reports pipeline"),
    "integrations": (
        "Integrations",
        "index",
        """
        integrations.art integrations.art_attacks integrations.art_poisoning integrations.cloudwatch
        integrations.counterfit integrations.dvc integrations.garak integrations.live
        integrations.mlflow integrations.oci integrations.prometheus integrations.pyrit
        integrations.sagemaker
        """,
    ),
    "errors": ("Errors", "errors", "errors"),
}
"""Page → its title, the guide that it belongs to, and the modules whose names it has."""

_ROOM: Final = "    options:\n      members: false\n      show_root_heading: false"
_HEAD: Final = (
    "# API reference\n",
    "Every public name, by task. `import mlsecops` serves the names that are used most by itself:",
    "`mlsecops.sign` is `mlsecops.signing.sign`.\n",
    "| Task | Packages |",
    "|---|---|",
)
LOWEST: Final = ["errors", "findings", "readings", "drift", "extraction"]
"""Modules whose names others export too; they are documented here, once."""


def names_of(module: str) -> list[str]:
    """Public names of a module: its `__all__`, or what is defined there; classes first."""
    home = import_module(f"mlsecops.{module}")
    listed = getattr(home, "__all__", None) or [
        name
        for name, value in vars(home).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == home.__name__
    ]
    return sorted(listed, key=lambda name: (name[0].islower(), name.lower()))


def documented() -> dict[str, list[str]]:
    """Module → the names that are documented there, each object once."""
    modules = [module for _, _, listed in PAGES.values() for module in listed.split()]
    modules.sort(key=lambda module: LOWEST.index(module) if module in LOWEST else len(LOWEST))
    seen: set[tuple[str, int]] = set()
    found: dict[str, list[str]] = {}
    for module in modules:
        home = import_module(f"mlsecops.{module}")
        keys = {name: (name, id(getattr(home, name))) for name in names_of(module)}
        found[module] = [name for name, key in keys.items() if key not in seen]
        seen |= set(keys.values())
    return found


def pages() -> dict[str, str]:
    """File name → text of each page."""
    names, texts = documented(), {"index.md": _overview()}
    for page, (title, guide, modules) in PAGES.items():
        parts = [f"# {title}", f"Guide: [{title.lower()}](../{guide}.md)."]
        for module in modules.split():
            parts += [f"## mlsecops.{module}", f"::: mlsecops.{module}\n{_ROOM}"]
            parts += [f"::: mlsecops.{module}.{name}" for name in names[module]]
        texts[f"{page}.md"] = "\n\n".join(parts) + "\n"
    return texts


def _overview() -> str:
    rows = (
        f"| [{title}]({page}.md) | {', '.join(f'`mlsecops.{each}`' for each in modules.split())} |"
        for page, (title, _, modules) in PAGES.items()
    )
    return "\n".join([*_HEAD, *rows]) + "\n"


def main() -> int:
    """Write the pages; gives the exit status."""
    FOLDER.mkdir(exist_ok=True)
    texts = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
