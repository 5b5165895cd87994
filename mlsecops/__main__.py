"""Entry point of `python -m mlsecops`, the command `mlsecops`."""

from mlsecops.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
