"""Measure a reward: figures with intervals, baselines, K-shot personalisation of unseen people, a report.

``evaluate.evaluate(reward, feedback)`` measures, ``report.write_report`` draws, ``guerdon eval`` is both.
"""
