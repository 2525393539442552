"""What the latent units know of the classes, which training never saw."""

import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBORS = 10
_MAX_ITERATIONS = 1000


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
