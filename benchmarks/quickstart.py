"""Seconds from an empty folder to six deliverables of a model of one's own.

A user's program trains a model and saves it with its data; then ``mlsecops init``, the script that
it wrote, and ``mlsecops deliver`` run as a user starts them, each in a process of its own. Models:
a scikit-learn pipeline on wines, a torch network on handwritten digits, gradient-boosted trees of
XGBoost on tumours.

Run: ``python -m benchmarks quickstart``
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

PROGRAMS: Final = {
    "scikit-learn pipeline": (
        """
import joblib, numpy as np
from pathlib import Path
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x, y = load_wine(return_X_y=True)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[::2], y[::2])
Path("model").mkdir(); Path("data").mkdir()
joblib.dump(model, "model/wine.joblib")
np.savetxt("data/train.csv", np.c_[x[::2], y[::2]], delimiter=",")
np.savez("eval.npz", x=x[1::2].astype("float32"), y=y[1::2])
""",
        [],
    ),
    "torch network": (
        """
import numpy as np, torch
from pathlib import Path
from safetensors.torch import save_file
from sklearn.datasets import load_digits
Path("nets.py").write_text('''
import torch
def build():
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
''')
import sys; sys.path.insert(0, "."); import nets
x, y = load_digits(return_X_y=True); x = (x / 16).astype("float32")
torch.manual_seed(0); net = nets.build(); optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(torch.tensor(x[:1400])), torch.tensor(y[:1400]))
    loss.backward()
    optimizer.step()
Path("model").mkdir(); Path("data").mkdir()
save_file(net.state_dict(), "model/digits.safetensors")
np.savez("data/train.npz", images=x[:1400], labels=y[:1400])
np.savez("eval.npz", x=x[1400:], y=y[1400:])
""",
        ["--arch", "nets:build"],
    ),
    "XGBoost trees": (
        """
import numpy as np, xgboost
from pathlib import Path
from sklearn.datasets import load_breast_cancer
x, y = load_breast_cancer(return_X_y=True); x = x.astype("float32")
model = xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(x[::2], y[::2])
Path("model").mkdir(); Path("data").mkdir()
model.save_model("model/tumours.ubj")
np.savetxt("data/train.csv", np.c_[x[::2], y[::2]], delimiter=",")
np.savez("eval.npz", x=x[1::4], y=y[1::4])
""",
        [],
    ),
}
"""Model → the program that trains and saves it, and further words of `mlsecops init`."""
DELIVERED: Final = ("index.html", "architecture.svg", "signing/model.sig", "robustness.json",
                    "dashboard.json", "playbook.json", "bom.cdx.json")  # fmt: skip


def took(folder: str, *words: str) -> float:
    """Wall seconds of a command, which must hold or fail its gate."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], check=False, cwd=folder, capture_output=True, text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    if done.returncode not in {0, 1} or "Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}: {done.stderr[-600:]}")
    return time.perf_counter() - start


def main() -> None:
    """Take each model from an empty folder to its deliverables, and print the seconds."""
    steps = ("train", "init", "script", "deliver")
    print(f"{'model':<24}" + "".join(f"{each:>9}" for each in (*steps, "all s")))
    for name, (program, words) in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "train.py").write_text(program)
            command = ("-m", "mlsecops")
            seconds = [
                took(folder, "train.py"),
                took(folder, *command, "init", "--dataset", "train=data", *words),
                took(folder, "secure.py"),
                took(folder, *command, "deliver"),
            ]
            missing = [
                each for each in DELIVERED if not Path(folder, "deliverables", each).is_file()
            ]
            if missing:
                raise SystemExit(f"{name}: not delivered: {', '.join(missing)}")
        print(f"{name:<24}" + "".join(f"{each:>9.1f}" for each in (*seconds, sum(seconds))))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor time of all: {spent.ru_utime + spent.ru_stime:.0f} s; "
          f"largest process: {spent.ru_maxrss / 1024:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
