"""The runner: takes photos from the queue and works on several at once."""
