"""Integrations with other tools, one module for each.

    the other tool's objects ↔ the library's values

Nothing below this package imports it.
"""
