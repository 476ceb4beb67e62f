"""Torch and mathematics: the base, its adapters, and the measurement of both. No outside system."""
