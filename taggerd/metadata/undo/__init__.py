"""Undo: what a merge leaves in a sidecar so that it can be undone, and undoing it."""
