"""dashboard.json in Grafana's own packages: each panel drawn from a running service's Prometheus.

Two services of digits, one of them with rows that drift, are scraped for a minute.
`@grafana/scenes` reads the dashboard (variables, queries, grid), `@grafana/ui` draws it in a
headless browser, and the page says for each panel how long its legend is and how many pixels have
a colour. What belongs to Grafana's server stays untested: its import page, its Prometheus data
source (here fifty lines over the same HTTP API) and the wrapper of its panel "timeseries".

Run: make benchmarks/.env-grafana/.made && python -m benchmarks.grafana_scenes [--picture F.png]
"""

from __future__ import annotations

import argparse
import functools
import html
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlsecops.integrations.prometheus import serve
from mlsecops.monitoring import Baseline, monitored
from mlsecops.reports import grafana_dashboard
from tests.conftest import program
from tests.services import prometheus

BUILT = Path(__file__).parent / ".env-grafana" / "dist"
SECONDS = 60
DRAWN = re.compile(r'<pre id="drawn"[^>]*>(.*?)</pre>', re.DOTALL)
UNMEASURED = {"Accuracy over time", "Model extraction"}  # no labels, no such detector
CONFIG = """
global: {{scrape_interval: 2s}}
scrape_configs:
  - {{job_name: models, static_configs: [{{targets: ["{target}"]}}]}}
"""


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, and no line for each request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A folder on a free loopback port; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def traffic(until: float) -> None:
    """Digits as they were learned, and digits with their left half gone, with labels."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    mixed = rng.permutation(len(x))  # the data set is ordered by who wrote
    x, y = x[mixed], y[mixed]
    model = LogisticRegression(max_iter=2000).fit(x[:600], y[:600])
    baseline = Baseline.fit(x[600:1200], model.predict_proba(x[600:1200]))
    services = {
        name: monitored(name, baseline=baseline, client=lambda _: "one")(model.predict_proba)
        for name in ("digits", "digits-dimmed")
    }
    while time.time() < until:
        rows = x[1200 + rng.choice(len(x) - 1200, 20)]
        services["digits"](rows)
        services["digits-dimmed"](np.where(np.arange(64) % 8 < 4, 0, rows))
        time.sleep(0.1)


def browse(url: str, *options: str) -> str:
    """What a headless browser prints of a page that has loaded."""
    with tempfile.TemporaryDirectory() as profile:
        command = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu",
                   "--hide-scrollbars", "--disable-background-networking",
                   f"--user-data-dir={profile}", "--window-size=1400,1900",
                   "--virtual-time-budget=30000", *options, url]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path, help="a screenshot of the dashboard")
    options = parser.parse_args()
    if not BUILT.is_dir():
        raise SystemExit("Grafana's packages are missing: make benchmarks/.env-grafana/.made")
    dashboard = grafana_dashboard()
    (BUILT / "dashboard.json").write_text(json.dumps(dashboard), encoding="utf-8")
    with tempfile.TemporaryDirectory() as place, serve(port=0) as page, site(BUILT) as pages:
        config = Path(place) / "prometheus.yml"
        config.write_text(CONFIG.format(target=page.url.split("/")[2]), encoding="utf-8")
        with prometheus(config, Path(place) / "series") as server:
            traffic(time.time() + SECONDS)
            url = f"{pages}/index.html?prometheus={server}"
            found = re.search(
                r'<pre id="drawn"[^>]*>(.*?)</pre>', browse(url, "--dump-dom"), re.DOTALL
            )
            if options.picture:
                browse(url, f"--screenshot={options.picture.resolve()}")
    drawn = json.loads(html.unescape(found[1])) if found else {}
    missing = show([panel["title"] for panel in dashboard["panels"]], drawn)
    if missing:
        sys.exit(f"not as expected: {', '.join(missing)}")


def show(titles: list[str], drawn: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each panel; returns those without a legend, with an error, or without a line.

    What nobody measured here (labels, extraction) has a legend and no line.
    """
    missing = []
    for title in titles:
        state = drawn.get(title, {})
        lines, ink = state.get("lines", []), state.get("ink", 0)
        if state.get("error") or not lines or (title not in UNMEASURED) != (ink > 0):
            missing.append(title)
        print(f"{title:28}{len(lines):3} lines, {ink:6} coloured pixels {state.get('error', '')}")
    print(f"\n{len(titles) - len(missing)} of {len(titles)} panels as expected")
    return missing


if __name__ == "__main__":
    main()
