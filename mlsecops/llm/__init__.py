"""Testing and guarding language-model endpoints.

Guarding: what comes from outside is cleaned of `characters` that nobody sees; what the model
answers is searched for `canaries` through all `encodings`.
"""

from mlsecops.llm.canaries import Canary, Sighting
from mlsecops.llm.characters import Sanitised, fold, sanitise
from mlsecops.llm.encodings import Reading, readings

__all__ = ["Canary", "Reading", "Sanitised", "Sighting", "fold", "readings", "sanitise"]
