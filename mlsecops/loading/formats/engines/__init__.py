"""Scanners of inference engines' own formats: graphs, compiled code, and files they refer to.

`openvino` `coreml` `ort`                 operators by set or kind, external data
`executorch` `compiled`                   operators, and code for an accelerator
`paddle` `mxnet` `caffe`                  operators that reach files or Python

graph or program → operators, references → Findings; code that was compiled is unchecked, by name
"""
