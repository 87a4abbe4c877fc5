"""Providers: the ways in which a parcel gets to its customer; one module each, listed in `registry`."""
