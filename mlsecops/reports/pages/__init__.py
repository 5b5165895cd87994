"""Report pages as self-contained HTML.

Architecture → `architecture` | monitor states → `dashboard`
robustness figures → `robustness` (`robustness_plots`)
deliverables → `index`
"""
