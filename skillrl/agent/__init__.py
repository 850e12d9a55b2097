"""Turns a language model into an agent: builds prompts, reads responses, plays episodes."""
