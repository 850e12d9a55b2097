"""Plays many episodes against one engine, and keeps what came of it."""
