"""taggerd: tags photos as they arrive."""

__version__ = "0.1.0"
