import json

import pytest
import tensorflow as tf
from tensorboard import context, plugin_util
from tensorboard.backend.event_processing import (
    data_provider,
    plugin_event_accumulator,
    plugin_event_multiplexer,
)
from tensorboard.plugins import base_plugin
from tensorboard.plugins.custom_scalar import custom_scalars_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    list_session_groups,
)

from tests.tools.small_jobs import StopAfterRows
from trainer import files
from trainer.data import sources
from trainer.distributed import devices
from trainer.errors import InterruptedJobError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir, open_to_write
from trainer.model.build import description
from trainer.runtime.console import Console
from trainer.tracking import run_cards
from trainer.tracking.summaries import Summaries

TAB_METRICS = {
    "losses/total_loss": "total_loss",
    "losses/reconstruction_loss": "reconstruction_loss",
    "losses/kl_loss": "kl_loss",
    "posterior/active_units": "active_units",
    "posterior/active_directions": "active_directions",
    "posterior/dead_units": "dead_units",
}


def board(logdir):
    """Returns TensorBoard's own context of what lies below a folder."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    return base_plugin.TBContext(
        logdir=str(logdir),
        data_provider=data_provider.MultiplexerDataProvider(
            multiplexer, str(logdir)
        ),
        plugin_name_to_instance={},
    )


def rows_of_hparams(logdir):
    """Returns the rows of the HParams tab, by name."""
    handler = list_session_groups.Handler(
        context.RequestContext(),
        backend_context.Context(board(logdir)),
        "",
        api_pb2.ListSessionGroupsRequest(
            allowed_statuses=api_pb2.Status.values(),
            aggregation_type=api_pb2.AGGREGATION_AVG,
            slice_size=100,
        ),
    )
    return {group.name: group for group in handler.run().session_groups}


@pytest.fixture
def job(small_config, console, stop):
    """The directory of a job that has just started."""
    config = small_config(data_url="https://user:secret@example.com")
    with open_to_write(config, console, stop) as job:
        start_session(job, config, console, stop)
        yield job


def start_session(job, config, console, stop):
    data = sources.load(config, console, stop)
    job.write_record(
        config, description(config), data, False, devices.connect(config)
    )
    run_cards.write(job, "test")


def test_several_jobs_are_rows_with_their_metrics_in_the_hparams_tab(
    small_config, tmp_path
):
    runs = tmp_path / "runs"
    untouched = small_config(job_dir=str(runs / "a"), epochs=1)
    stopped = small_config(job_dir=str(runs / "b"), epochs=1, beta=0.5)
    train_and_evaluate(untouched)
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(stopped, stop=StopAfterRows(stopped, 2))
    assert len(rows_of_hparams(runs)) == 2
    train_and_evaluate(stopped)
    rows = rows_of_hparams(runs)
    assert sorted(rows) == ["a/logs/test", "b/logs/test"]
    for name, config in (("a", untouched), ("b", stopped)):
        row = rows[f"{name}/logs/test"]
        hparams = row.hparams
        assert hparams["beta"].number_value == config.beta
        assert hparams["train_examples"].number_value == 320
        assert hparams["dataset"].string_value == "synthetic"
        assert hparams["model"].string_value == "notebook"
        assert hparams["devices"].string_value == "1 CPU replica"
        assert "job_dir" not in hparams
        finished = JobDir(config.job_dir).finished()["test_metrics"]
        assert {
            metric.name.tag: metric.value for metric in row.metric_values
        } == pytest.approx(
            {tag: finished[field] for tag, field in TAB_METRICS.items()},
            rel=1e-6,
        )
        (session,) = row.sessions
        assert session.status == api_pb2.STATUS_SUCCESS
        assert session.end_time_secs > session.start_time_secs
    # Also when TensorBoard is given the logs of one job.
    (row,) = rows_of_hparams(runs / "b" / "logs").values()
    assert (row.name, len(row.metric_values)) == ("test", len(TAB_METRICS))


def test_a_job_that_goes_on_is_not_at_its_end(job, small_config, console, stop):
    def status():
        (row,) = rows_of_hparams(job.root).values()
        (session,) = row.sessions
        return session.status, row.hparams["epochs"].number_value

    assert status() == (api_pb2.STATUS_UNKNOWN, 2)
    run_cards.write_end(job, "test")
    assert status() == (api_pb2.STATUS_SUCCESS, 2)
    start_session(job, small_config(epochs=3), console, stop)
    assert status() == (api_pb2.STATUS_UNKNOWN, 3)
    Summaries(job, 20, console=Console()).close()
    run_cards.write_end(job, "test")
    assert status() == (api_pb2.STATUS_SUCCESS, 3)


def test_each_session_writes_the_same_anew(job, small_config, console, stop):
    (path,) = (job.logs / "test").iterdir()
    first = path.read_bytes()
    # A session that was killed while it wrote.
    ((job.logs / "test") / ".unfinished-job").write_bytes(first[:100])
    start_session(job, job.config(), console, stop)
    assert list((job.logs / "test").iterdir()) == [path]
    assert path.read_bytes() == first


def test_sessions_drop_nothing_of_it(job):
    for step in (0, 0, 5):
        summaries = Summaries(job, step, console=Console())
        summaries.write_row(
            {
                "step": step + 5,
                "epoch": 1,
                "split": "test",
                "total_loss": 1.0,
                "reconstruction_loss": 1.0,
                "kl_loss": 0.0,
                "active_units": 0,
            }
        )
        summaries.close()
    run_cards.write_end(job, "test")
    reader = plugin_event_accumulator.EventAccumulator(str(job.logs / "test"))
    reader.Reload()
    assert [event.step for event in reader.Tensors(run_cards.SETTINGS_TAG)] == [
        0
    ]
    assert [event.step for event in reader.Tensors("losses/total_loss")] == [
        5,
        10,
    ]


def test_the_text_tab_has_the_settings_and_no_secret(job):
    reader = plugin_event_accumulator.EventAccumulator(str(job.logs / "test"))
    reader.Reload()
    (event,) = reader.Tensors(run_cards.SETTINGS_TAG)
    assert list(reader.PluginTagToContent("text")) == [run_cards.SETTINGS_TAG]
    page = plugin_util.markdown_to_safe_html(
        tf.make_ndarray(event.tensor_proto).item()
    )
    record = job.record()
    for name, value in {
        "learning_rate": 0.001,
        "latent_dim": 8,
        "training images": 320,
        "name": "synthetic",
        "MD5 of t10k-labels-idx1-ubyte": record["data"]["md5"][
            "t10k-labels-idx1-ubyte"
        ],
        "tensorflow": record["versions"]["tensorflow"],
        "replicas": "1 CPU replica",
    }.items():
        assert f"<td>{name}</td>\n<td>{value}</td>" in page, name
    for part in ("Data", "Model", "Settings", "Devices", "Versions"):
        assert f"<th>{part}</th>" in page
    (path,) = (job.logs / "test").iterdir()
    assert b"secret" not in path.read_bytes()
    assert str(job.root).encode() not in path.read_bytes()


def test_a_model_is_shown_with_every_option_and_its_source():
    model = {"name": "my:build", "options": {"width": 8}, "source": "abc"}
    assert run_cards.model_of({"model": model}) == {
        "name": "my:build",
        "option width": 8,
        "SHA-256 of its source": "abc",
    }
    assert run_cards.model_of({}) == {}


def test_text_that_looks_like_markup_stays_as_it_is(job):
    record = job.record()
    name = "a|b *c* <i>d</i> `e` [f](g) _h_ \\ i\nj"
    record["data"]["name"] = name
    page = plugin_util.markdown_to_safe_html(
        run_cards.settings_table(job.config(), record)
    )
    assert (
        "<td>name</td>\n<td>a|b *c* &lt;i&gt;d&lt;/i&gt; `e` [f](g) _h_ \\ i j"
        "</td>"
    ) in page


def test_the_losses_come_first_with_both_curves_in_a_chart(job):
    plugin = custom_scalars_plugin.CustomScalarsPlugin(board(job.root))
    layout = json.loads(plugin.layout_impl(context.RequestContext(), ""))
    first, *others = layout["category"]
    assert first["title"] == "Losses"
    assert [category["title"] for category in others] == [
        "Posterior",
        "Training",
    ]
    assert [chart["title"] for chart in first["chart"]] == [
        "total loss",
        "reconstruction loss",
        "KL loss",
    ]
    (tag,) = first["chart"][0]["multiline"]["tag"]
    assert tag == "^losses/total_loss$"


def test_the_layouts_of_several_jobs_are_one(job, tmp_path):
    other = JobDir(tmp_path / "other")
    other.root.mkdir()
    files.write_json(other.config_path, job.record() | {"jit_compile": True})
    run_cards.write(other, "test")
    both = custom_scalars_plugin.CustomScalarsPlugin(board(tmp_path))
    one = custom_scalars_plugin.CustomScalarsPlugin(board(job.root))
    request = context.RequestContext()
    assert both.layout_impl(request, "") == one.layout_impl(request, "")


def test_weights_of_another_job_are_named_by_a_checksum_not_a_path(job):
    def shown():
        record = job.record()
        text = run_cards.settings_table(job.config(), record)
        return text, run_cards.hyperparameters(record).get("init_from")

    text, checksum = shown()
    assert "First weights" not in text
    assert "init_from" not in text
    assert checksum is None
    record = job.record()
    record["config"]["init_from"] = "secret/place@7"
    initial = {"job": "secret/place", "step": 7, "sha256": "ab12" * 16}
    record["initial_weights"] = initial
    job.config_path.write_text(json.dumps(record))
    text, checksum = shown()
    assert f"| SHA\\-256 | {initial['sha256']} |" in text
    assert "secret" not in text
    assert checksum == "ab12ab12ab12"
