"""Model extraction: detection of clients that copy a model, and coarser answers for them.

rows, probabilities ─ scores ─ client_history ─ detector ─→ reading of each client
│              └─ linkage ─→ groups of clients
stores (this process or Redis)
rows, probabilities ─ prada ─→ reading of each client, to compare with
answer ─ output_perturbation ─→ coarser answer
"""
