"""Worker processes that parse untrusted bytes and may die.

HDF5 file → `hdf5_reader` → `worker` → `worker_main` (forks) → `hdf5_walk` → findings
pickle → `mlsecops.loading.convert` → `convert_main` (confined) → tensors
"""
