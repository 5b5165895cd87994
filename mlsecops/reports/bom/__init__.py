"""Machine-learning bill of materials: built, linted and verified (CycloneDX)."""
