"""Evasion attacks: perturbations of inputs within a ball, and the losses they climb."""
