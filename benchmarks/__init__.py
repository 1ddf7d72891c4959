"""Where every tool stands: speed and quality, ours and its peers' in one run."""
