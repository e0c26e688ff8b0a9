"""Can a reward be fooled? Attacks that any :class:`~guerdon.reward.base.Reward` can be put to.

``run.run(reward, cases)`` measures, ``guerdon attack REWARD`` is the command. An attack is a function from a
:class:`Case` to the responses that it tries, and what counts as success::

    from guerdon.bench.attacks import Case, attack

    @attack("shouting", family="style", aim="raised", what="the bad answer in capitals")
    def shouting(case: Case) -> dict[str, str]:
        return {"capitals": case.bad.upper()}

``guerdon attack REWARD --attack my_module:shouting`` puts a reward to it; ``registry.ATTACKS`` are the bundled ones.
``key_search`` finds new master keys near known ones.
"""

from guerdon.bench.attacks.attack import AIMS, Attack, Case, attack

__all__ = ["AIMS", "Attack", "Case", "attack"]
