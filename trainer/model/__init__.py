"""The model, and what is done with it.

What is public: `VAE`, `Sampler`, `build_encoder` and `build_decoder`.
"""

from trainer.model.vae import VAE, Sampler, build_decoder, build_encoder

__all__ = ["VAE", "Sampler", "build_decoder", "build_encoder"]
