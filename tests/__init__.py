"""Tests state properties, on real miniatures."""
