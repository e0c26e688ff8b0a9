"""Between encoder and head: features of a star's candidates, their scaling, and the inner held-out split."""

from __future__ import annotations

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.star import Feedback


def features_of(encoder: Encoder, feedback: Feedback, *, progress: bool = False) -> np.ndarray:
    """float32 [C, d] features of the star's candidates; rows no judgement points to are zero."""
    used = feedback.used
    values = encoder.encode(feedback.candidates.take(used), progress=progress)
    if np.isnan(values).any():
        row = int(used[np.flatnonzero(np.isnan(values).any(1))[0]])
        raise FeedbackError(
            f"encoder {encoder.spec!r} gave no features for candidate {row}: {feedback.candidate(row)!r:.120}"
        )
    x = np.zeros((len(feedback.responses), values.shape[1]), dtype=np.float32)
    x[used] = values
    return x


class FeatureScaling:
    """Standardises each feature over the training candidates and divides by sqrt(d), so that |x| is about 1.

    With that, one ridge penalty means the same for every encoder. Constant features become zero.

    Where candidates are of several modalities, ``flag`` int [d] names the column of x that says whether a feature is
    there at all (such a column names itself). A feature is then standardised over the candidates that have it, with
    d the number of features under its flag, and stays zero for the others: how rare a modality is changes nothing.
    """

    def __init__(self) -> None:
        self.mean = np.zeros(0)
        self.scale = np.zeros(0)
        self.flag: np.ndarray | None = None

    def fit(self, x: np.ndarray, flag: np.ndarray | None = None) -> None:
        """Learn mean and scale from x [n, d]."""
        self.flag = None
        if flag is not None:
            mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
            for at in np.unique(flag):
                mine = np.flatnonzero((flag == at) & (np.arange(len(flag)) != at))
                there = x[:, at] > 0
                if len(mine):
                    self.fit(x[np.ix_(there, mine)] if there.any() else np.zeros((1, len(mine))))
                    mean[mine], scale[mine] = self.mean, self.scale
            self.mean, self.scale, self.flag = mean, scale, np.asarray(flag, dtype=np.int64)
            return
        self.mean = x.mean(0, dtype=np.float64)
        sd = x.std(0, dtype=np.float64)
        # a feature that never varies in training says nothing; one that hardly does must not explode elsewhere
        self.scale = np.where(sd > 1e-6, 1.0 / np.maximum(sd, 1e-6), 0.0) / np.sqrt(x.shape[1])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """float64 [n, d] scaled features."""
        if x.shape[1] != len(self.mean):
            raise ModelError(
                f"this model was fitted on {len(self.mean)} features, the encoder gives {x.shape[1]}: "
                "open it with the encoder it was saved with"
            )
        scaled = (x - self.mean) * self.scale
        return scaled if self.flag is None else scaled * (x[:, self.flag] > 0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        flag = {} if self.flag is None else {"feature_flag": self.flag}
        return {"feature_mean": self.mean, "feature_scale": self.scale, **flag}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take learned arrays back."""
        self.mean, self.scale = arrays["feature_mean"], arrays["feature_scale"]
        self.flag = arrays.get("feature_flag")


UNITS = ("auto", "prompt", "user", "judgement")
FEW, MANY = 4, 20


def parted(
    feedback: Feedback, validation: Feedback | None, seed: int, by: str = "auto", *, hold: bool = True
) -> tuple[Feedback, Feedback, Feedback | None]:
    """(all feedback, the part to learn from, the part to choose by); candidates are those of the first in all three.

    Without ``validation`` a part is split off (:func:`inner_split`), with ``hold`` False none.
    """
    if validation is None:
        fitting, held = inner_split(feedback, seed, by) if hold else (feedback, None)
        return feedback, fitting, held
    together, n = Feedback.concatenate([feedback, validation]), len(feedback)
    return together, together.take(np.arange(n)), together.take(np.arange(n, len(together)))


def inner_split(feedback: Feedback, seed: int, by: str = "auto") -> tuple[Feedback, Feedback | None]:
    """(fitting part, held-out part) for automatic choices; (everything, None) where there is too little to hold out.

    What is held out says what the choices are good for. ``auto`` means new prompts, as long as there are at least
    four: a penalty chosen on people who judged the same texts is far too weak for new texts. Then people, then
    judgements. A sixth is held out, of fewer than 20 prompts a third.
    """
    if by not in UNITS:
        raise ConfigError(f"choose_by={by!r} is unknown; use one of {', '.join(UNITS)}")
    if len(feedback) < 30:
        return feedback, None
    prompts = len(np.unique(feedback.judgement_prompt))
    known = feedback.user >= 0
    if by == "auto":
        people = len(np.unique(feedback.user)) if known.all() else 0
        by = "prompt" if prompts >= FEW else "user" if people >= MANY else "judgement"
    holdout = 0.33 if by == "prompt" and prompts < MANY else 0.15
    return feedback.split(by, holdout, seed)  # type: ignore[arg-type]  # checked above
