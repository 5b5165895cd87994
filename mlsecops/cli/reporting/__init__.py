"""Commands that write bills of materials, dashboards, diagrams and deliverables.

model, snapshots or controls → bom | dashboard | diagram | deliver | demo → files
"""
