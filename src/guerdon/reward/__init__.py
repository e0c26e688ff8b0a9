"""Everything that scores or compares candidates."""
