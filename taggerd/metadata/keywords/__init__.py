"""Keywords: cleaned by rules, matched with the user's list, kept in every list of a sidecar."""
