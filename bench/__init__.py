"""Benchmarks of the door and the workers against named peers, all in one run: `python -m bench`.

Nothing of the project imports this package. What the peers need is kept in environments of their own.
"""
