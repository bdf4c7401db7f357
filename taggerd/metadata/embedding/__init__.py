"""XMP inside photo files: found, replaced by a splice, and proved to be all that changed."""
