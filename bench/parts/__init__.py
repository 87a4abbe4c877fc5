"""The parts of the bench: each measures ours and its peers in interleaved rounds and returns a `Part`."""
