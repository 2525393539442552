"""What a training tells a Prometheus server, over HTTP, while it runs.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import contextlib
import http.server
import socket
import socketserver
import sys
import threading
import time

from trainer.errors import ConfigError

_LOSSES = ("total_loss", "reconstruction_loss", "kl_loss")
# Whoever asks slowly, or all at once, keeps no more than these busy.
_ANSWERS_AT_ONCE, _ANSWER_SECONDS = 8, 10


class Exporter:
    """Answers with what is known when it is asked. The chief alone has it.

    The training only sets attributes, so that it costs nothing.

    Args:
        clock: the `Clock` of the session.

    Attributes:
        rows: dict of the last row of metrics by split.
        saved: float, the `time.monotonic()` at which the newest checkpoint of
            this session was handed over; None before.
        epoch_of: function of a step; None while there is no schedule yet.
        goodput: function that returns the `Goodput` of the job; None before
            there is one.
    """

    def __init__(self, clock):
        self._clock = clock
        self.rows = {}
        self.saved = None
        self.epoch_of = None
        self.goodput = None

    def collect(self):
        """Yields the families of metrics, as prometheus_client wants it."""
        from prometheus_client import core

        def gauge(name, text, values, labels=()):
            family = core.GaugeMetricFamily(name, text, labels=labels)
            for of_labels, value in values:
                family.add_metric(of_labels, value)
            return family

        step = self._clock.step
        if step is not None:
            yield gauge("vae_step", "Updates of the weights.", [((), step)])
        if step and self.epoch_of:
            yield gauge(
                "vae_epoch",
                "The epoch of the step, from 1.",
                [((), self.epoch_of(step))],
            )
        # Rows are added by another thread.
        rows = dict(self.rows)
        if "train" in rows:
            yield gauge(
                "vae_images_per_second",
                "Speed of the training between its last two rows.",
                [((), rows["train"]["images_per_second"])],
            )
        if rows:
            yield gauge(
                "vae_loss",
                "Losses of the last row of each split, per image.",
                [
                    ((split, name), row[name])
                    for split, row in rows.items()
                    for name in _LOSSES
                ],
                ("split", "loss"),
            )
            yield gauge(
                "vae_loss_step",
                "The step of the last row of each split.",
                [((split,), row["step"]) for split, row in rows.items()],
                ("split",),
            )
        seconds = core.CounterMetricFamily(
            "vae_session_seconds",
            "Seconds of this session, by what they went into.",
            labels=("kind",),
        )
        for kind, value in self._clock.seconds().items():
            seconds.add_metric((kind,), value)
        yield seconds
        if self.goodput:
            yield gauge(
                "vae_goodput_ratio",
                "The part of all sessions' seconds that made progress.",
                [((), self.goodput().share)],
            )
        if self.saved is not None:
            yield gauge(
                "vae_checkpoint_age_seconds",
                "Seconds since the newest checkpoint of this session.",
                [((), time.monotonic() - self.saved)],
            )


@contextlib.contextmanager
def served(exporter, config):
    """Answers HTTP requests at `--metrics_port` while the block runs.

    Args:
        exporter: an `Exporter`.
        config: a `TrainConfig`; nobody is answered with a `metrics_port` of 0.

    Raises:
        ConfigError: prometheus_client is not installed, or nobody can listen
            there.
    """
    if not config.metrics_port:
        yield
        return
    try:
        import prometheus_client
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise ConfigError(
            f"--metrics_port={config.metrics_port} needs prometheus_client, "
            "which is not installed; install it with "
            '`pip install "vae-trainer[metrics]"`, or leave the flag out.'
        ) from error
    # The default one has metrics of Python and of the process as well.
    registry = prometheus_client.CollectorRegistry()
    registry.register(exporter)
    try:
        server = _Server(
            config.metrics_host,
            config.metrics_port,
            lambda: prometheus_client.generate_latest(registry),
            prometheus_client.CONTENT_TYPE_LATEST,
        )
    except OSError as error:
        raise ConfigError(
            f"Nobody can listen at --metrics_host={config.metrics_host} "
            f"--metrics_port={config.metrics_port} ({error.strerror}); give "
            "another port, or an address of this machine."
        ) from error
    thread = threading.Thread(
        target=server.serve_forever, name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """Answers a few at a time, and waits for none of them for long."""

    daemon_threads = True

    def __init__(self, host, port, content, content_type):
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self.content, self.content_type = content, content_type
        self._free = threading.BoundedSemaphore(_ANSWERS_AT_ONCE)
        super().__init__(address, _Handler)

    def server_bind(self):
        # Without HTTPServer's own, which asks DNS for a name of the machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request, client_address):
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        # Whoever asked may be gone before the answer.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _ANSWER_SECONDS

    def do_GET(self):
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return
        content = self.server.content()
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Says nothing: who asks is no news of the job."""
