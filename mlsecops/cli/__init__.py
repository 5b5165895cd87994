"""The command `mlsecops`: thin over the library's calls.

words → main → signing | loading | testing | operations | reporting → library → exit status

Each command is a module with `EXAMPLE`, `configure` (options) and `run`; `main` imports only the
module of the command that is asked for.
"""

from mlsecops.cli.main import main

__all__ = ["main"]
