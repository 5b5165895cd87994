"""Loading of the parts of files that tensors lie in, each verified before it is used.

signed shards of files → `sharded_files`: ranges read and compared → `ranged_tensors`: tensors
"""
