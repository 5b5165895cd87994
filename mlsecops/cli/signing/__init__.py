"""Commands that hash, sign and verify artifacts."""
