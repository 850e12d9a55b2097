"""What is asked before anything starts."""
