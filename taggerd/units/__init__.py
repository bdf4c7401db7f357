"""The files that systemd reads: those that ship with taggerd."""

from taggerd.units.files import shipped

__all__ = ["shipped"]
