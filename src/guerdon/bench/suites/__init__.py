"""Published benchmarks of rewards: each is data and a protocol in one small file; :mod:`registry` lists them.

``run.run(reward, suite, feedback)`` measures, ``guerdon bench REWARD SUITE`` is the command.
"""
