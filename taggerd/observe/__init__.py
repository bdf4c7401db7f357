"""What others may look at while the daemon runs: its figures and its health.

Off by default. Only :mod:`taggerd.observe.observer` is imported then: neither the Prometheus
client nor a server costs memory or start time.
"""
