"""Protection of a process: the loading calls of its code read verified bytes, or nothing.

    `protect` (`blocks`) → `patching`: the functions of `calls` pass through `verified`
    call with a path → signed artifact → held files → the library's own call on them

`mlsecops.protect` and `mlsecops run` are written on it.
"""
