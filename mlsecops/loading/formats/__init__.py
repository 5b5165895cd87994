"""Scanners of model formats: bytes → Findings, nothing executed.

`safetensors` `gguf` `numpy` `tflite`            headers, tables and sizes
`pickles` `skops`                                imports and calls (`pickle_vm`)
`keras` (`keras_size`) `hdf5` `savedmodel`       layers and operations
`onnx` → `external_data`                         operators and the files they read
`companions`                                     text, settings and templates of a model folder
"""
