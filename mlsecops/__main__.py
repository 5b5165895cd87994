"""`python -m mlsecops` is the command `mlsecops`."""

from mlsecops.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
