"""What happens in which order: flows read as sentences, typed records in and out."""
