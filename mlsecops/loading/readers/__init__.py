"""Framework readers: verified bytes → model or tensors.

snapshot → `decode` → `torch_reader` | `keras_reader` | `onnx_reader` | `pickle_reader`
"""
