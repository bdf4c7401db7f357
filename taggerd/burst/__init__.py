"""Bursts: of photos that show the same the sharpest is asked about, the others take its answers.

It decides which photos belong together and which of them is asked about; asking, keeping and
writing stay with the pipeline.
"""

from taggerd.burst.gathering import Candidate, Gathering
from taggerd.burst.shots import Shot, taken_at

__all__ = ["Candidate", "Gathering", "Shot", "taken_at"]
