"""Address sources: where a customer's address may be found; one module each, listed in `registry`."""
