"""Expected model name: the one that a caller demands, or the artifact's own.

path, `name=`, pinned digest → ExpectedName → compared with the signed name by `TrustPolicy`

The name in a bundle selects the keys and version floors of a policy. Whoever replaces a whole
folder by another signed model replaces that name too, so it is compared with one from outside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mlsecops._choices import checked, printable
from mlsecops._repr import concise_repr
from mlsecops.provenance.files.paths import own_name


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedName:
    """Name that a model's signature should bear.

    Attributes:
        name: The name.
        demanded: Whether the caller named it, so that every policy enforces it. Otherwise a policy
            enforces it if it restricts keys or version floors by model name.
    """

    name: str
    demanded: bool = False


@checked
def expected_name(
    path: str | os.PathLike[str], name: str | None, *, pinned: bool = False
) -> ExpectedName | None:
    """The name that a model at a path should be signed by.

    Args:
        path: The model's folder or file.
        name: Name that the caller demands, or None.
        pinned: Whether the caller names the model by its root digest.

    Returns:
        The demanded name, else none for a pinned model, else the artifact's own.

    Raises:
        UsageError: The demanded name is empty or has control characters.
    """
    if name is not None:
        return ExpectedName(name=model_name(name), demanded=True)
    return None if pinned else ExpectedName(name=own_name(path))


def model_name(name: str) -> str:
    """Check the name of a model.

    Raises:
        UsageError: It is empty or has characters that cannot be printed.

    Examples:
        >>> model_name("fraud-model")
        'fraud-model'
    """
    return printable("name", name, "; name the model")
