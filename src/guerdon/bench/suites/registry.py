"""Every suite by name. A new one is one file and one line here; ``package.module:SUITE`` needs no line."""

from __future__ import annotations

from guerdon.bench.suites.agreement import AUTO_J, IF_BENCH, JUDGE_BENCH, LLM_BAR, MT_BENCH, PANDA_LM, QA_FEEDBACK
from guerdon.bench.suites.best_of_n import BEST_OF_N
from guerdon.bench.suites.fc_reward_bench import FC_REWARD_BENCH
from guerdon.bench.suites.genies import GENIES, GENIES_ALL, GENIES_FIXED
from guerdon.bench.suites.in_context_people import IN_CONTEXT_PEOPLE
from guerdon.bench.suites.omni_reward_bench import OMNI_REWARD_BENCH
from guerdon.bench.suites.personal import PERSONAL
from guerdon.bench.suites.principles import RA_BENCH
from guerdon.bench.suites.probing import MRM_BENCH
from guerdon.bench.suites.rag import RAG_REWARD
from guerdon.bench.suites.reward_bench import REWARD_BENCH
from guerdon.bench.suites.reward_bench_2 import REWARD_BENCH_2
from guerdon.bench.suites.rm_bench import RM_BENCH
from guerdon.bench.suites.rmb import RMB
from guerdon.bench.suites.simulated_people import PERSONAL_LLM
from guerdon.bench.suites.study import Study
from guerdon.bench.suites.suite import Suite
from guerdon.bench.suites.vl_reward_bench import VL_REWARD_BENCH
from guerdon.bench.suites.writing import WRITING
from guerdon.errors import ConfigError
from guerdon.own_code import own_object

SUITES: tuple[Suite | Study, ...] = (
    REWARD_BENCH,
    REWARD_BENCH_2,
    RMB,
    RM_BENCH,
    AUTO_J,
    PANDA_LM,
    MT_BENCH,
    JUDGE_BENCH,
    LLM_BAR,
    IF_BENCH,
    QA_FEEDBACK,
    RA_BENCH,
    RAG_REWARD,
    WRITING,
    FC_REWARD_BENCH,
    VL_REWARD_BENCH,
    OMNI_REWARD_BENCH,
    MRM_BENCH,
    GENIES,
    GENIES_ALL,
    GENIES_FIXED,
    PERSONAL,
    PERSONAL_LLM,
    IN_CONTEXT_PEOPLE,
    *BEST_OF_N,
)


def suite(name: str) -> Suite | Study:
    """The suite called ``name``, or the object ``package.module:SUITE``."""
    for found in SUITES:
        if found.name == name:
            return found
    module, colon, attribute = name.partition(":")
    if colon:
        mine = own_object(name, f"suite {name}")
        if isinstance(mine, Suite | Study):
            return mine
        raise ConfigError(f"suite {name}: {module} has no Suite or Study called {attribute!r}")
    known = ", ".join(s.name for s in SUITES)
    raise ConfigError(f"no suite {name!r}; there are {known}; or give package.module:SUITE of your own")
