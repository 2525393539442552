"""Versions of the arithmetic of a job: a job keeps that which it began with.

`config.json` has the version; one of before there were versions has none.

1. Up to trainer 0.1.0. The order of epoch 256 + e is that of epoch e, and the
   orders of seed 256 + s are those of seed s (`randomness.shuffled`).
2. The orders of 4,096 epochs, and of as many seeds, differ.
3. `bce` is computed from logits (`model.likelihoods`). With mixed precision the
   images that the loss compares, and a decoder's last sigmoid, are float32,
   and the last layer is TensorFlow's own.
"""

FIRST, EXACT_LOSSES, NEWEST = 1, 3, 3
