"""Clients of a model: data and victims (``tasks``), honest clients, thieves."""
