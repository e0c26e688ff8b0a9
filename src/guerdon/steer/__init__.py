"""Improve what a generator gives without changing it."""

from guerdon.steer.best_of_n import BestOfN, Choice, best_of_n, pick

__all__ = ["BestOfN", "Choice", "best_of_n", "pick"]
