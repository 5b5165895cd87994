"""The command `mlsecops`: thin over the library's calls.

`main` picks one command's module by name, so that no command pays for another's imports; the
module declares its options (`configure`) and calls the library (`run`), and `main` turns
errors into one line and an exit status.
"""

from mlsecops.cli.main import main

__all__ = ["main"]
