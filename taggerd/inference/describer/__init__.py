"""The describer: a small OpenAI-compatible backend that says only what pixels show.

It is no vision model, and its model id says so. It serves those who have none yet, the demo, and
tests, which talk to it as to any other backend: in this process (:func:`describer_transport`) or on
a port (:class:`DescriberServer`, ``python -m taggerd.inference.describer --port N``).
"""

from taggerd.inference.describer.api import MODEL, respond
from taggerd.inference.describer.server import DescriberServer, describer_transport

__all__ = ["MODEL", "DescriberServer", "describer_transport", "respond"]
