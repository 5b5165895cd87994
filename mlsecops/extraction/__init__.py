"""Model extraction: detection of clients that copy a model, and coarser answers for them.

rows, probabilities → `scores` → `client_history` (in `stores`: this process or Redis)
                    → `detector` → readings of each client
client histories → `linkage` → groups of clients
rows, probabilities → `prada` → readings of each client, to compare with
answer → `output_perturbation` → coarser answer
"""
