"""What taggerd costs, measured: `scripts/bench` runs these."""
