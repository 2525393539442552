"""Adam in one pass over each weight, and how its learning rate falls."""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam with TensorFlow's fused update.

    Keras composes the update of some ten operations, each of which reads and
    writes all weights. The formula is the same (Kingma & Ba 2015, the end of
    section 2, with the epsilon of that variant).
    """

    def moments(self):
        """Returns the moments of the weights, in their order, by kind."""
        return {"momentum": self._momentums, "velocity": self._velocities}

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight and its two moments.

        Args:
            gradient: tensor of the shape of the weight.
            variable: `tf.Variable`, the weight on this device.
            learning_rate: scalar tensor.
        """
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (
            tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2)
        )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def learning_rate(config, schedule):
    """Returns the learning rate of a job, as Keras takes it.

    Args:
        config: a `TrainConfig`.
        schedule: a `Schedule`.

    Returns:
        A float; or a `LearningRateSchedule`, a function of the updates that
        were applied before.
    """
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    # Half a cosine down to 0 (Loshchilov & Hutter 2017, equation 5).
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate, schedule.total_steps
    )


def learning_rate_at(step, config, schedule):
    """Returns the learning rate of a training step as a float.

    Args:
        step: int, from 1.
        config: a `TrainConfig`.
        schedule: a `Schedule`.
    """
    rate = learning_rate(config, schedule)
    return float(rate(step - 1)) if callable(rate) else rate
