"""What `scripts/limits` is made of: processes, figures, the page, and a file for each row."""
