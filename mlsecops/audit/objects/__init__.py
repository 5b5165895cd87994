"""Object stores: one layout in a folder, a bucket or memory.

location (path or URL) → `opening` → ObjectStore → get, get if changed, put if absent,
put if unchanged, list
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.audit.objects.folder import FolderStore as FolderStore
    from mlsecops.audit.objects.memory import MemoryStore as MemoryStore
    from mlsecops.audit.objects.opening import open_store as open_store
    from mlsecops.audit.objects.protocol import UNCHANGED as UNCHANGED
    from mlsecops.audit.objects.protocol import ObjectStore as ObjectStore
    from mlsecops.audit.objects.protocol import Stored as Stored
else:
    __all__, __getattr__, __dir__ = lazy_face()
