"""What two families use."""
