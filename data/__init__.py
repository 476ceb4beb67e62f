"""What the data is, and where it rests: records, parameters, readers, facts, wordings. No torch, no services."""
