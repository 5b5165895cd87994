"""Served language models: request shapes, event streams and failures of their services.

attempt → `request_shapes` → HTTP → `event_stream` or JSON → answer
failed request → `failures` → blocked, permanent, transient or another failure
"""
