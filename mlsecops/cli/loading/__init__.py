"""Commands that scan, convert and load models.

PATH → scan → Verdicts; pickle → convert → safetensors; PATH → load → LoadedModel
"""
