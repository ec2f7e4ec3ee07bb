"""Notebooks without a screen: execute one, sweep one over many points, publish the course as a site."""
