"""Sandboxed processes: libraries that parse untrusted bytes run in children that may die."""
