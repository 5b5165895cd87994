"""Report pages: architecture, dashboard, robustness and index as HTML."""
