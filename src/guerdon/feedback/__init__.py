"""What people said: schema, readers and writers, validation, splits."""

from guerdon.feedback.schema import Candidate, Candidates, Judgement
from guerdon.feedback.star import Feedback, Pairs

__all__ = ["Candidate", "Candidates", "Feedback", "Judgement", "Pairs"]
