"""Packages of an environment as CycloneDX components, and the dependencies between them.

resource descriptors with purls → library components with licences → dependency graph

What a signed statement leaves out, the licence and the requirements of a package, is taken from
this environment if the same version is installed here.

Source: CycloneDX 1.6 and 1.7, components and dependencies; ECMA-427, Package-URL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.provenance import distributions
from mlsecops.provenance.distributions import normalized
from mlsecops.provenance.statement import Statement
from mlsecops.reports.bom.formulation import bom_property, resolved_dependencies
from mlsecops.reports.bom.licenses import license_choices
from mlsecops.reports.redaction import shown

Descriptor = Mapping[str, Any]


def package_descriptors(
    provenance: list[Statement], given: Iterable[Descriptor] | None
) -> list[Descriptor]:
    """Descriptors of the packages, one for each purl, sorted.

    Args:
        provenance: SLSA provenance of the model, which lists packages.
        given: Descriptors to use instead, or None.
    """
    if given is None:
        listed = [each for one in provenance for each in resolved_dependencies(one)]
        given = listed if provenance else distributions.packages()
    by_purl = {str(each.get("uri", "")): each for each in given}
    here = {str(each["uri"]): each for each in distributions.packages()} if by_purl else {}
    return [
        _completed(by_purl[uri], here.get(uri)) for uri in sorted(by_purl) if uri.startswith("pkg:")
    ]


def _completed(descriptor: Descriptor, installed: Descriptor | None) -> Descriptor:
    if installed is None:
        return descriptor
    stated = descriptor.get("annotations")
    known = {key: value for key, value in installed["annotations"].items() if key != "digestOf"}
    annotations = {**known, **(stated if isinstance(stated, Mapping) else {})}
    return {**descriptor, "annotations": annotations}


def library(descriptor: Descriptor) -> dict[str, Any]:
    """The component of a package.

    Raises:
        UsageError: The `uri` is not a package URL.
        MissingExtra: The extra `bom` is not installed.
    """
    purl = parsed_purl(str(descriptor["uri"]))
    text = purl.to_string()
    annotations = _annotations(descriptor)
    licenses = license_choices(_texts(annotations.get("licenses")))
    record = _sha256(descriptor)
    of = annotations.get("digestOf")
    return {
        "type": "library",
        "bom-ref": text,
        **({"group": purl.namespace} if purl.namespace else {}),
        "name": purl.name,
        "version": purl.version or "",  # required up to CycloneDX 1.3, and read as such
        "purl": text,
        **({"licenses": licenses} if licenses else {}),
        **({"hashes": [{"alg": "SHA-256", "content": record}]} if record and of is None else {}),
        **({"properties": [bom_property(f"sha256-of:{of}", record)]} if record and of else {}),
    }


def parsed_purl(text: str) -> Any:
    """The package URL as the library `packageurl` parses it.

    Raises:
        UsageError: It is not a package URL.
    """
    try:
        return require("packageurl").PackageURL.from_string(text)
    except ValueError as error:
        message = f"package: expected a package URL such as pkg:pypi/numpy@2.4, got {shown(text)!r}"
        raise UsageError(message) from error


def package_dependencies(descriptors: Iterable[Descriptor]) -> list[dict[str, Any]]:
    """Each package's reference with those of the listed packages that it requires."""
    purls = [(parsed_purl(str(each["uri"])), each) for each in descriptors]
    reference = {normalized(purl.name): purl.to_string() for purl, _ in purls if _is_pypi(purl)}
    found = []
    for purl, descriptor in purls:
        own = purl.to_string()
        names = _texts(_annotations(descriptor).get("requires")) if _is_pypi(purl) else ()
        needs = {reference[normalized(name)] for name in names if normalized(name) in reference}
        needs -= {own}
        found.append({"ref": own, **({"dependsOn": sorted(needs)} if needs else {})})
    return found


def _is_pypi(purl: Any) -> bool:
    return bool(purl.type == "pypi")


def _annotations(descriptor: Descriptor) -> Mapping[str, Any]:
    found = descriptor.get("annotations")
    return found if isinstance(found, Mapping) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list | tuple) else ()


def _sha256(descriptor: Descriptor) -> str | None:
    digest = descriptor.get("digest")
    found = digest.get("sha256") if isinstance(digest, Mapping) else None
    return found if isinstance(found, str) else None
