"""Names and messages that forge lines of a terminal, a log or a page."""

from __future__ import annotations

FORGED = "passed    weights.safetensors (safetensors)"

NAMES = {
    "line-feed": f"x\n{FORGED}\n.pkl",
    "carriage-return": f"x\r{FORGED}.pkl",
    "next-line": f"x\x85{FORGED}.pkl",
    "line-separator": f"x\u2028{FORGED}.pkl",
    "vertical-tab": f"x\x0b{FORGED}.pkl",
    "right-to-left": "x\u202elkp.dessap",
    "isolate": "x\u2066\u2069.pkl",
    "escape": "x\x1b[1A\x1b[2Kpassed.pkl",
    "one-byte-escape": "x\x9b2Kpassed.pkl",
    "delete": "x\x7f\x7fpassed.pkl",
    "tag": "x\U000e0070.pkl",
}
"""Kind of attack → name of a file."""
