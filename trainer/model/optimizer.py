"""Adam in one pass over each weight, and its learning rate at each step."""

import keras
import tensorflow as tf

# The average begins as the weights of the first step, and its decay rises to
# the one asked for: after t steps it looks back over about t / 10 of them.
_EMA_WARMUP = 10


class Adam(keras.optimizers.Adam):
    """Keras's Adam with TensorFlow's fused update.

    Keras composes the update of some ten operations, each of which reads and
    writes all weights. The formula is the same (Kingma & Ba 2015, the end of
    section 2, with the epsilon of that variant).

    Args:
        learning_rate: float or `LearningRateSchedule`.
        clip_norm: float, the longest gradient over all weights together, that
            of the whole batch (Pascanu et al. 2013, algorithm 1); 0 for any.
        ema: float, decay of an average of the weights; 0 for none.
        **kwargs: of `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate, *, clip_norm=0.0, ema=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self._clip_norm = clip_norm
        self._ema = ema
        self._averages = []

    def build(self, var_list):
        """Makes the moments of weights, and their average if there is one."""
        built = self.built
        super().build(var_list)
        if self._ema and not built:
            self._averages = self.add_optimizer_variables(var_list, "ema")

    def moments(self):
        """Returns what there is of each weight, in their order, by kind."""
        moments = {"momentum": self._momentums, "velocity": self._velocities}
        return moments | ({"ema": self._averages} if self._averages else {})

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Sums gradients over replicas, and cuts the sum to its length.

        Keras would cut those of each replica, so that their number mattered.
        """
        reduced = super()._all_reduce_sum_gradients(grads_and_vars)
        if not self._clip_norm:
            return reduced
        gradients, variables = zip(*reduced, strict=True)
        clipped, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        return list(zip(clipped, variables, strict=True))

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight, its two moments and its average.

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
        if self._averages:
            before = tf.cast(self.iterations, dtype)
            decay = tf.minimum(
                tf.constant(self._ema, dtype), before / (before + _EMA_WARMUP)
            )
            average = self._averages[index].value.handle
            read = (
                tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
                for handle in (average, variable.handle)
            )
            old, new = read
            tf.raw_ops.AssignVariableOp(
                resource=average, value=new + decay * (old - new)
            )


class _Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A line from 0 to a learning rate, and then that.

    Args:
        rate: float or `LearningRateSchedule`.
        steps: int, after which it is that rate.
    """

    def __init__(self, rate, steps):
        self._rate = rate
        self._steps = steps

    def __call__(self, step):
        rate = self._rate(step) if callable(self._rate) else self._rate
        # Not 0 at the first step, which would do nothing.
        done = tf.cast(step + 1, tf.float32) / self._steps
        return rate * tf.minimum(done, 1.0)

    def get_config(self):
        return {"rate": self._rate, "steps": self._steps}


def make(config, schedule):
    """Returns the `Adam` of a job, not built yet.

    Args:
        config: a `TrainConfig`.
        schedule: a `Schedule`.
    """
    return Adam(
        learning_rate(config, schedule),
        clip_norm=config.clip_norm,
        ema=config.ema,
        weight_decay=config.weight_decay or None,
        epsilon=config.adam_epsilon,
        # Keras would call a second one in a process "adam_1", and its
        # variables would not be found in a checkpoint.
        name="adam",
    )


def build(optimizer, weights, images=()):
    """Builds an `Adam` on weights, of which kernels alone decay.

    Args:
        optimizer: of `make`.
        weights: list of variables.
        images: those of them that are images: pseudo-inputs.
    """
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(
            [weight for weight in weights if len(weight.shape) < 2]
            + list(images)
        )
    optimizer.build(weights)


def learning_rate(config, schedule):
    """Returns the learning rate of a job, as Keras takes it.

    Args:
        config: a `TrainConfig`.
        schedule: a `Schedule`.

    Returns:
        A float; or a `LearningRateSchedule`, a function of the updates that
        were applied before.
    """
    rate = config.learning_rate
    if config.learning_rate_schedule != "constant":
        # Half a cosine down to 0 (Loshchilov & Hutter 2017, equation 5).
        rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, schedule.total_steps
        )
    return _Warmup(rate, config.warmup_steps) if config.warmup_steps else rate


def learning_rate_at(step, config, schedule):
    """Returns the learning rate of a training step as a float.

    Args:
        step: int, from 1.
        config: a `TrainConfig`.
        schedule: a `Schedule`.
    """
    rate = learning_rate(config, schedule)
    return float(rate(step - 1)) if callable(rate) else rate
