"""What scripts/export is made of."""
