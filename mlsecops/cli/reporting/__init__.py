"""Commands that write bills of materials, dashboards, diagrams and deliverables."""
