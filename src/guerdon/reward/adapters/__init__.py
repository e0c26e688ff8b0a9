"""A Reward inside somebody else's trainer, and a TRL reward function as a Reward.

=========  ===================================================  ==========================================
trainer    what it gets                                         an unscored completion becomes
=========  ===================================================  ==========================================
TRL        the Reward itself, or :func:`for_trl`                ``None``: TRL leaves the row out
verl       :func:`for_verl` as ``compute_score``                ``unscored`` (0.0), with ``"unscored": 1.0``
OpenRLHF   :func:`for_openrlhf` as ``reward_func``              ``unscored`` (0.0), counted in the logs
NeMo-RL    :class:`NemoEnvironment`, an environment             ``unscored`` (0.0), counted in the metrics
verifiers  :func:`for_verifiers`, a rubric function or a hook   ``unscored`` (0.0); v1 hooks record nothing
=========  ===================================================  ==========================================

verl, OpenRLHF, NeMo-RL and classic rubrics need a number for every completion: NaN would spoil the advantages of the
whole batch. ``unscored`` is that number. Take one in the middle of the reward's range, or 0 for utilities in log-odds;
the first time it is used, a warning says why. Who asks (``user``) and for what (``criterion``) comes from the data
set's columns, or is bound for the whole run by the keyword arguments ``user=`` and ``criterion=``.
"""

from guerdon.reward.adapters.nemo_rl import NemoEnvironment
from guerdon.reward.adapters.openrlhf import for_openrlhf
from guerdon.reward.adapters.trl import FromTRL, for_trl
from guerdon.reward.adapters.verifiers import for_verifiers
from guerdon.reward.adapters.verl import for_verl

__all__ = ["FromTRL", "NemoEnvironment", "for_openrlhf", "for_trl", "for_verifiers", "for_verl"]
