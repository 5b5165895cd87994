"""Scanners of weights and vectors in formats without code: sizes that the file holds.

header → declared counts and sizes → exactly the bytes that are there, or malformed

`fasttext` `ctranslate2` `ggml` `paddle` `mxnet`    weights of one library
`msgpack` `rds`                                     values with types; R's may run code
"""
