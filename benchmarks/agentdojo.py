"""AgentDojo's four suites, scripted, through `Session`: benign tasks asked about, attacks let by.

The suites live in an environment of their own (`make peers`), where
`peers/agentdojo_suites.py` runs; `--show` lists the tasks that are asked about, and why.

Source: Debenedetti et al., "AgentDojo: A Dynamic Environment to Evaluate Prompt Injection Attacks
and Defenses for LLM Agents" (2024); suites of version 1.2.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent
PYTHON = HOME / ".env-agentdojo" / "bin" / "python"


def main() -> None:
    """Run the script in its environment."""
    if not PYTHON.exists():
        raise SystemExit(".env-agentdojo: not installed; run `make peers`")
    paths = {**os.environ, "PYTHONPATH": str(HOME.parent)}
    script = HOME / "peers" / "agentdojo_suites.py"
    subprocess.run([PYTHON, script, *sys.argv[1:]], env=paths, check=True)


if __name__ == "__main__":
    main()
