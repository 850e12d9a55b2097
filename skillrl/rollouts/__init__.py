"""Playing many episodes against one engine, and keeping what came of it."""
