"""Holds the policy: Qwen in Flax Linen, its weights, tokenizer and chat format."""
