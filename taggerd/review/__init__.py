"""What a person does with tagged photos: find, read, edit, accept, reject, ask again, undo."""

from taggerd.review.library import Library, open_library
from taggerd.review.pictures import Pictures
from taggerd.review.review import Outcome, Review, open_review

__all__ = ["Library", "Outcome", "Pictures", "Review", "open_library", "open_review"]
