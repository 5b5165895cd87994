"""Evidence map: requirements of a framework → files and fields of a delivery that answer them.

`frameworks` reads the requirements (TOML), `evidence_map` finds their evidence, `evidence_page`
shows it.
"""
