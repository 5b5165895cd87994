"""Text analysis for language-model input and output.

text → `unicode` (invisible characters, confusables) → sanitised, folded text
text → `encodings` → decoded readings → `canaries` → sightings of secrets
"""
