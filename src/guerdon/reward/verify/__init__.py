"""Rewards that a rule decides: answers, formats, constraints, programs. ``guerdon.load("rule:NAME?option=value")``."""
