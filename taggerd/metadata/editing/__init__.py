"""What a person makes of a photo's words: in sidecars and packets, as the human's own."""
