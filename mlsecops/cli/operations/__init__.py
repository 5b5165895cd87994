"""Commands that operate a registry and handle incidents."""
