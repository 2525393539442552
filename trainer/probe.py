"""What the latent units know of the classes, which training never saw."""

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer import pictures

NEIGHBORS = 10
_BATCH_SIZE = 1000
_MAX_ITERATIONS = 1000


def encode(vae, images, stop, advance):
    """Returns the posterior means of many images, a batch at a time.

    Args:
        vae: a `trainer.model.VAE`.
        images: uint8 array of shape (N, height, width, 1).
        stop: a `StopSignal`.
        advance: called with a number of images now and then.

    Returns:
        Array of shape (N, latent_dim).

    Raises:
        InterruptedJobError: the stop signal came.
    """
    parts = []
    for start in range(0, len(images), _BATCH_SIZE):
        stop.check()
        batch = images[start : start + _BATCH_SIZE]
        parts.append(pictures.posterior_means(vae, batch))
        advance(len(batch))
    return np.concatenate(parts)


def linear(train_means, train_labels, test_means, test_labels):
    """Tries a linear classifier: multinomial logistic regression.

    A linear probe (Alain & Bengio 2016, "Understanding intermediate layers
    using linear classifier probes"), on posterior means that are scaled to
    mean 0 and variance 1 over the training images, with scikit-learn's
    default L2 penalty.

    Args:
        train_means: array of shape (N, latent_dim).
        train_labels: integer array of shape (N,), of at least two classes.
        test_means: array of shape (M, latent_dim).
        test_labels: integer array of shape (M,).

    Returns:
        Bool array of shape (M,): which test images it got right.
    """
    # The means of many units are nearly the same function of the image, and
    # L-BFGS takes hundreds of steps where Newton's method takes ten.
    classifier = make_pipeline(
        StandardScaler(),
        LogisticRegression(solver="newton-cg", max_iter=_MAX_ITERATIONS),
    )
    # Its products are small: on cores that others use as well, threads that
    # wait for each other make it 50 times slower.
    with threadpoolctl.threadpool_limits(1):
        classifier.fit(train_means, train_labels)
        return classifier.predict(test_means) == test_labels


def nearest_neighbors(train_means, train_labels, test_means, test_labels):
    """Tries the vote of the `NEIGHBORS` nearest training images.

    Distances are Euclidean, between posterior means as they are: a unit that
    is not active hardly counts.

    Args:
        train_means: array of shape (N, latent_dim); where N is less than
            `NEIGHBORS`, all vote.
        train_labels: integer array of shape (N,).
        test_means: array of shape (M, latent_dim).
        test_labels: integer array of shape (M,).

    Returns:
        Bool array of shape (M,): which test images it got right.
    """
    classifier = KNeighborsClassifier(min(NEIGHBORS, len(train_means)))
    classifier.fit(train_means, train_labels)
    return classifier.predict(test_means) == test_labels
