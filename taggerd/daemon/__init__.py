"""The service: its parts, its status, and what it tells systemd."""
