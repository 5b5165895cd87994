"""Signatures over the outputs of a DVC repository.

    *.dvc, dvc.lock → paths of outputs → files without what .dvcignore hides → SHA-256 manifest
        sign_outputs → dvc.sig, kept in git → verify_outputs after a checkout or pull

DVC itself identifies outputs by MD5, which has collisions, and `dvc checkout` restores an edited
cache file without a warning. Where DVC 3 is installed, its own API lists the outputs; otherwise the
pointer files are read, templates resolved. Links into DVC's cache are followed, others refused.

Limits: files may change after verification, so load models with `SecureLoader` and hash data sets
where training reads them (`tracked`). Outputs outside the repository are refused.

Source: DVC 3, `.dvc` files, `dvc.lock` of schema 2.0, `.dvcignore` and templating of `dvc.yaml`.
"""

from mlsecops.integrations.dvc.listing import outputs
from mlsecops.integrations.dvc.manifests import (
    BUNDLE,
    outputs_manifest,
    sign_outputs,
    verify_outputs,
)

__all__ = ["BUNDLE", "outputs", "outputs_manifest", "sign_outputs", "verify_outputs"]
