"""Synchronous guards: rate limits, quotas, isolation and input checks before a call."""
