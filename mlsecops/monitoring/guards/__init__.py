"""Synchronous guards before a monitored call.

call → `guards` (isolation, input checks, rate limits over `quotas`) → model, or CallRefused
"""
