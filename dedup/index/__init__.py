"""An index that remembers: what was seen, kept on disk and found again."""
