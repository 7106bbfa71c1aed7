"""What recordings hold, counted, and how far a network's account of them can be trusted."""
