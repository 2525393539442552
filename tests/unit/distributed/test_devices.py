"""What `devices.py` takes from TensorFlow's private modules is still there."""

import inspect

from tensorflow.python.eager import context


def test_tensorflow_can_be_told_to_leave_out_its_coordination_service():
    """If this fails, several machines wait in TensorFlow, deaf to signals.

    Look for the new way to leave the service out, in `_multi_worker_strategy`.
    """
    configure = context.Context.configure_coordination_service
    assert "service_type" in inspect.signature(configure).parameters
