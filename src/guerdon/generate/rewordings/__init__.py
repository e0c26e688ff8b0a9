"""Rewordings that keep the right response right: what a robust reward should not mind, applied to any judged responses.

``apply.reworded(feedback, transform)`` rewords any feedback, ``bench/robustness.py`` says what a reward makes
of it, ``guerdon bench REWARD SUITE --reword all`` is the command. A transform of your own is a function of a text and a
draw::

    from guerdon.generate.rewordings import text

    @text("shouting", family="natural", what="everything in capitals")
    def shouting(text: str, draw: random.Random) -> str:
        return text.upper()

``--reword my_module:shouting`` applies it; ``registry.TRANSFORMS`` are the bundled ones.

Reference: Wu et al. 2025, reWordBench, https://arxiv.org/abs/2503.11751
"""

from guerdon.generate.rewordings.transform import Case, Transform, pair, text

__all__ = ["Case", "Transform", "pair", "text"]
