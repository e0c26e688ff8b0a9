"""Every format and layout that can be read, the most particular first. A new reader is one file and one line here."""

from guerdon.feedback.readers import (
    graded,
    labelled,
    mt_bench,
    own,
    preference,
    ratings,
    reward_bench,
    rmb,
    transcripts,
    ukpconvarg,
    unpaired,
)
from guerdon.feedback.readers.formats import Format
from guerdon.feedback.readers.layouts import Layout

FORMATS: tuple[Format, ...] = (
    own.GUERDON,
    transcripts.HH_RLHF,
    reward_bench.RM_BENCH,
    reward_bench.REWARDBENCH_2,
    rmb.PAIRWISE,
    rmb.BEST_OF_N,
    preference.REWARDBENCH,
    preference.EXPLICIT,
    preference.IMPLICIT,
    graded.NEMO_RL,
    graded.ULTRAFEEDBACK,
    graded.SCORED,
    graded.LISTED,
    labelled.CHOICE,
    labelled.AUTO_J,
    labelled.PANDA_LM,
    labelled.SHP,
    labelled.PAIR,
    unpaired.KTO,
    unpaired.RATED,
    unpaired.ASPECT_RATED,
)
LAYOUTS: tuple[Layout, ...] = (
    ukpconvarg.UKPCONVARG,
    mt_bench.MT_BENCH,
    ratings.RATINGS,
)
