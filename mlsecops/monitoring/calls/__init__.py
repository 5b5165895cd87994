"""Calls as a monitor reads them, on the worker's thread.

CallRecord → `call_reader` → rows and answers → `batches` → Observed; `unread` counts what has no
meaning for the baseline, `capture` keeps whole calls if that is wanted
"""
