"""Makes the golden checkpoints and logits from PyTorch transformers.

    python tests/models/make_golden.py

Needs torch and transformers. Writes ``tests/fixtures/models/{qwen2,qwen3}`` with a
tiny random checkpoint as `save_pretrained` writes it, and ``golden.npz`` with a
right-padded batch: ``tokens [B, T]``, ``lengths [B]``, ``logits [B, T, V]`` (float32;
zero past a row's length).
"""

from pathlib import Path

import numpy as np
import torch
import transformers

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"
SHARED = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
}
LENGTHS = [11, 4, 1]


def configs() -> dict:
    # The two differ in everything that a reader can get wrong: ties, biases, head
    # width, norms of queries and keys, base of the rotary frequencies.
    return {
        "qwen2": transformers.Qwen2Config(
            **SHARED,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        ),
        "qwen3": transformers.Qwen3Config(
            **SHARED,
            tie_word_embeddings=False,
            head_dim=12,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        ),
    }


def make_model(config) -> torch.nn.Module:
    """A random model whose biases and norm scales are random too."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("norm.weight"):
                value.copy_(1 + 0.3 * torch.randn_like(value))
            else:
                value.copy_(0.15 * torch.randn_like(value))
    return model


def golden_logits(model, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Logits of each row alone, so that padding cannot matter; zero past its length."""
    logits = np.zeros((*tokens.shape, model.config.vocab_size), np.float32)
    with torch.no_grad():
        for row, length in enumerate(lengths):
            out = model(torch.tensor(tokens[row : row + 1, :length]).long()).logits
            logits[row, :length] = out[0].float().numpy()
    return logits


def make_batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = np.asarray(LENGTHS, np.int32)
    tokens = rng.integers(0, SHARED["vocab_size"], (len(lengths), lengths.max())).astype(np.int32)
    return tokens, lengths


def main() -> None:
    tokens, lengths = make_batch()
    for name, config in configs().items():
        model = make_model(config)
        directory = FIXTURES / name
        model.save_pretrained(directory)
        np.savez_compressed(
            directory / "golden.npz",
            tokens=tokens,
            lengths=lengths,
            logits=golden_logits(model, tokens, lengths),
        )


if __name__ == "__main__":
    main()
