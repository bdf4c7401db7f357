"""Hooks: commands and webhooks that hear of photos, batches and problems.

A notice waits in the ledger until it is delivered, so that a restart or a kill loses none: a
webhook hears of it at least once, and knows it again by its id. Nothing here holds a photo up.
"""

from taggerd.hooks.batch import Batch
from taggerd.hooks.delivery import Delivery
from taggerd.hooks.hooks import PHOTOS, Hooks
from taggerd.hooks.problems import Problem

__all__ = ["PHOTOS", "Batch", "Delivery", "Hooks", "Problem"]
