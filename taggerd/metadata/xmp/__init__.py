"""XMP as text: parsed with byte offsets, edited by a splice, proved by parsing again."""
