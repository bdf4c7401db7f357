"""Models and prompts side by side: what each says of the same photos, and which a person likes."""

from taggerd.compare.asking import ask_candidates
from taggerd.compare.comparison import Candidate, Comparison, Reply, Shown, Total
from taggerd.compare.kept import Comparisons

__all__ = [
    "Candidate",
    "Comparison",
    "Comparisons",
    "Reply",
    "Shown",
    "Total",
    "ask_candidates",
]
