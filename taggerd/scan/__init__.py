"""One scan: queues the photos below some paths, and tags them until none is left."""

from taggerd.scan.choice import needless
from taggerd.scan.estimate import Estimate, estimate_photos
from taggerd.scan.request import Listing, Observer, ScanRequest, Tally
from taggerd.scan.scan import Scan, list_photos, scan_photos

__all__ = [
    "Estimate",
    "Listing",
    "Observer",
    "Scan",
    "ScanRequest",
    "Tally",
    "estimate_photos",
    "list_photos",
    "needless",
    "scan_photos",
]
