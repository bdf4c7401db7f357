"""Data files that ship with the package: prompts, templates, probe pictures, towns."""
