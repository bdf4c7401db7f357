"""The describer: a small OpenAI-compatible backend that says only what pixels show.

It is no vision model, and its model id says so. It serves those who have none yet, the demo, and
tests, which talk to it as to any other backend, but in this process (:func:`describer_transport`).
"""

from taggerd.inference.describer.api import MODEL, describer_transport, respond

__all__ = ["MODEL", "describer_transport", "respond"]
