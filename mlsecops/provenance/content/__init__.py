"""Content digests of data sets, independent of their layout in memory.

array → `arrays` | Arrow column → `arrow` | stream of samples → `samples` → bytes
data set → `parts` → runs of rows (`rows`) → named digests
"""
