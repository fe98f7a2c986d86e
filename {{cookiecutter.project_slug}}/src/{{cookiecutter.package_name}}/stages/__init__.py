"""One file a stage: this is where you write."""
