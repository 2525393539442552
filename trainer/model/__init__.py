"""The model, and what is done with it."""

from trainer.model.notebook import build_decoder, build_encoder
from trainer.model.vae import VAE, Sampler

__all__ = ["VAE", "Sampler", "build_decoder", "build_encoder"]
