"""Language models: what they share, and one engine a file."""
