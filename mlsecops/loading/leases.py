"""Read leases, as the pinned tier takes them: those of `mlsecops.provenance.files.leases`."""

from mlsecops.provenance.files.leases import file_system, has_lease, take_lease

__all__ = ["file_system", "has_lease", "take_lease"]
