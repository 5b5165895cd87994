"""What the other rooms found, in forms that people and tools read.

Findings become SARIF, JUnit and markdown; manifests, statements and measurements become a bill of
materials (`bom`), which is linted and verified; a monitor's metrics and snapshots become a
dashboard; a configured pipeline becomes a diagram with its threats; and `index_page` leads to all
of them. Everything is a pure function of its input, escapes what it is given and links to no host.
"""

from mlsecops.reports.alert_rules import alert_rules
from mlsecops.reports.bom.build import bom_text, build_bom
from mlsecops.reports.bom.lint import lint_bom
from mlsecops.reports.bom.verification_report import BomField, BomReport, FieldState
from mlsecops.reports.bom.verify import verify_bom
from mlsecops.reports.diagram.blueprint import CONTROLS, blueprint
from mlsecops.reports.diagram.model import (
    Architecture,
    Boundary,
    Control,
    ControlState,
    Element,
    ElementKind,
    Flow,
    mermaid,
)
from mlsecops.reports.diagram.svg import architecture_svg
from mlsecops.reports.diagram.threats import THREATS, Standing, Stride, Threat, standings
from mlsecops.reports.grafana import grafana_dashboard
from mlsecops.reports.junit import junit_xml
from mlsecops.reports.pages.architecture import architecture_files, architecture_page
from mlsecops.reports.pages.dashboard import dashboard_files, dashboard_page
from mlsecops.reports.pages.index import Deliverable, index_page
from mlsecops.reports.pages.robustness import robustness_page
from mlsecops.reports.pages.robustness_plots import class_picture, curve_picture, gallery_picture
from mlsecops.reports.rendering.svg_picture import Picture
from mlsecops.reports.report import judgement_findings, markdown_report
from mlsecops.reports.sarif import sarif_log

__all__ = [
    "CONTROLS",
    "THREATS",
    "Architecture",
    "BomField",
    "BomReport",
    "Boundary",
    "Control",
    "ControlState",
    "Deliverable",
    "Element",
    "ElementKind",
    "FieldState",
    "Flow",
    "Picture",
    "Standing",
    "Stride",
    "Threat",
    "alert_rules",
    "architecture_files",
    "architecture_page",
    "architecture_svg",
    "blueprint",
    "bom_text",
    "build_bom",
    "class_picture",
    "curve_picture",
    "dashboard_files",
    "dashboard_page",
    "gallery_picture",
    "grafana_dashboard",
    "index_page",
    "judgement_findings",
    "junit_xml",
    "lint_bom",
    "markdown_report",
    "mermaid",
    "robustness_page",
    "sarif_log",
    "standings",
    "verify_bom",
]
