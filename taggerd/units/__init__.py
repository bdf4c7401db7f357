"""The files that systemd reads, and the service that is made of them."""

from taggerd.units.files import shipped
from taggerd.units.install import Choice, can_install, install, journal, lag, uninstall
from taggerd.units.kinds import ServiceUnit

__all__ = [
    "Choice",
    "ServiceUnit",
    "can_install",
    "install",
    "journal",
    "lag",
    "shipped",
    "uninstall",
]
