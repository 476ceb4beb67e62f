"""The thin boundary to each outside system, one system per file."""
