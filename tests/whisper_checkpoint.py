"""A small Whisper checkpoint with random weights, loaded and decoded like a real one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from whisper.model import ModelDimensions, Whisper

RATE = 16_000

MULTILINGUAL = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=32,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=51_865,
    n_text_ctx=448,
    n_text_state=32,
    n_text_head=2,
    n_text_layer=1,
)


def write_checkpoint(path: Path, seed: int = 2, n_vocab: int = MULTILINGUAL.n_vocab) -> Path:
    """Write a checkpoint in OpenAI's format; with 51,864 tokens it is English-only.

    Weights of positions, tokens and cross-attention are larger than by default, so that the
    transcript depends on the audio.
    """
    torch.manual_seed(seed)
    dims = ModelDimensions(**{**asdict(MULTILINGUAL), "n_vocab": n_vocab})
    model = Whisper(dims)
    torch.nn.init.normal_(model.decoder.positional_embedding)
    torch.nn.init.normal_(model.decoder.token_embedding.weight, std=0.3)
    for block in model.decoder.blocks:
        for layer in (block.cross_attn.query, block.cross_attn.value, block.cross_attn.out):
            torch.nn.init.normal_(layer.weight, std=3.0)
    torch.save({"dims": asdict(dims), "model_state_dict": model.state_dict()}, path)
    return path


def sound(seconds: float, rate: int = RATE, hertz: float = 220.0) -> np.ndarray:
    """A tone of varying loudness, float32 of shape (seconds · rate,)."""
    time = np.arange(int(seconds * rate)) / rate
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * time)
    return (0.5 * loudness * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
