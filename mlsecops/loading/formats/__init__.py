"""Scanners of model formats: bytes → Findings, nothing executed.

`safetensors` `gguf` `numpy` `tflite`            headers, tables and sizes
`pickles` `skops`                                imports and calls (`pickle_vm`)
`keras` (`keras_size`) `hdf5` `savedmodel`       layers and operations
`onnx` → `external_data`                         operators and the files they read
`companions`                                     text, settings and templates of a model folder

Every `examine_…` takes the file, the limits and the names that are allowed, by the caller or (for
pickles and skops) at all. It returns an Examination, or raises the refusal: `FormatRefused` for a
malformed file, `LimitExceeded` for one that declares too much or is nested too deeply,
`UnsafeContent` for a reference outside, and `MissingExtra` for a reader that is not installed.
"""
