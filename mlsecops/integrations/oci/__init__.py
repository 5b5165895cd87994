"""Signatures attached to models in OCI registries.

model folder → sign → bundle → `attach`: an artifact that refers to the model's manifest (OCI 1.1)
reference → manifest and layers by digest → private folder → each attached bundle → Verified

The bundle is the same as for a folder: it covers the names and digests of the unpacked files, not
the registry's manifest. Layers are the files themselves or tar archives, as ModelPack and ORAS
write them. Registries without the referrers API get the index that the specification falls back to.

Limits: a registry can hide a bundle, and serve an older signed version down to the policy's floor.

Source: OCI distribution specification 1.1, "Listing Referrers", "Pushing Manifests with Subject";
OCI image specification 1.1; CNCF ModelPack specification.
"""

from mlsecops.integrations.oci.artifacts import attach, attached, verify_artifact

__all__ = ["attach", "attached", "verify_artifact"]
