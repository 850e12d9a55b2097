"""The agent: prompts, reading of responses, and episodes as coroutines."""
