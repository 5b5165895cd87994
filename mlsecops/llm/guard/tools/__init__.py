"""Definitions of a model's tools: their effects, hashes and hidden orders.

definitions (`tool_shapes`) → `tool_definitions`: hashed, signed, verified, scanned
functions and definitions → `effects`: stated effects compared with names and code
client session of MCP → `mcp_session`: only approved tools, within a session
"""
