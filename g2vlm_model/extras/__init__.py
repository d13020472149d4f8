"""What the published architecture lacks and the embedded model uses, each an option."""
