"""Reports and deliverables for people and tools.

    Findings → `sarif`, `junit`, `report` (Markdown)
    manifests, statements, figures → `bom`: bill of materials, linted and verified
    monitor states, rules → `grafana`, `prometheus_rules`, `pages`
    delivered files → `evidence`: requirements of a framework with their evidence
    pipeline → `diagram`: architecture with controls and threats
    all of them → `pages` (`rendering`) → HTML with an index

Reports are pure functions of their input. They escape it (`redaction` removes secrets) and link
to no host.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.reports.bom.build import bom_text as bom_text
    from mlsecops.reports.bom.build import build_bom as build_bom
    from mlsecops.reports.bom.diff import BomChange as BomChange
    from mlsecops.reports.bom.diff import diff_boms as diff_boms
    from mlsecops.reports.bom.lint import lint_bom as lint_bom
    from mlsecops.reports.bom.spdx import spdx_document as spdx_document
    from mlsecops.reports.bom.verification_report import BomField as BomField
    from mlsecops.reports.bom.verification_report import BomReport as BomReport
    from mlsecops.reports.bom.verification_report import FieldState as FieldState
    from mlsecops.reports.bom.verify import verify_bom as verify_bom
    from mlsecops.reports.diagram.blueprint import CONTROLS as CONTROLS
    from mlsecops.reports.diagram.blueprint import blueprint as blueprint
    from mlsecops.reports.diagram.model import Architecture as Architecture
    from mlsecops.reports.diagram.model import Boundary as Boundary
    from mlsecops.reports.diagram.model import Control as Control
    from mlsecops.reports.diagram.model import ControlState as ControlState
    from mlsecops.reports.diagram.model import Element as Element
    from mlsecops.reports.diagram.model import ElementKind as ElementKind
    from mlsecops.reports.diagram.model import Flow as Flow
    from mlsecops.reports.diagram.model import mermaid as mermaid
    from mlsecops.reports.diagram.svg import architecture_svg as architecture_svg
    from mlsecops.reports.diagram.threats import THREATS as THREATS
    from mlsecops.reports.diagram.threats import Stride as Stride
    from mlsecops.reports.diagram.threats import Threat as Threat
    from mlsecops.reports.diagram.threats import ThreatStatus as ThreatStatus
    from mlsecops.reports.diagram.threats import threat_statuses as threat_statuses
    from mlsecops.reports.evidence.evidence_map import evidence_map as evidence_map
    from mlsecops.reports.evidence.evidence_page import evidence_page as evidence_page
    from mlsecops.reports.evidence.evidence_page import evidence_template as evidence_template
    from mlsecops.reports.evidence.frameworks import FRAMEWORKS as FRAMEWORKS
    from mlsecops.reports.grafana import grafana_dashboard as grafana_dashboard
    from mlsecops.reports.junit import junit_xml as junit_xml
    from mlsecops.reports.pages.architecture import architecture_files as architecture_files
    from mlsecops.reports.pages.architecture import architecture_page as architecture_page
    from mlsecops.reports.pages.dashboard import dashboard_files as dashboard_files
    from mlsecops.reports.pages.dashboard import dashboard_page as dashboard_page
    from mlsecops.reports.pages.index import Deliverable as Deliverable
    from mlsecops.reports.pages.index import index_page as index_page
    from mlsecops.reports.pages.robustness import robustness_page as robustness_page
    from mlsecops.reports.pages.robustness_plots import class_picture as class_picture
    from mlsecops.reports.pages.robustness_plots import curve_picture as curve_picture
    from mlsecops.reports.pages.robustness_plots import gallery_picture as gallery_picture
    from mlsecops.reports.prometheus_rules import alert_rules as alert_rules
    from mlsecops.reports.rendering.svg_picture import Picture as Picture
    from mlsecops.reports.report import judgement_findings as judgement_findings
    from mlsecops.reports.report import markdown_report as markdown_report
    from mlsecops.reports.sarif import sarif_log as sarif_log
else:
    __all__, __getattr__, __dir__ = lazy_face()
