"""Claims that a policy demands of a model, verified from statements in its signed bundle.

policy → `requirement` + statements of the bundle → `evidence` → nothing, or a PolicyError
"""
