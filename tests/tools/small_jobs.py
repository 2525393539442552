"""A small job's flags, and waiting for what a job prints."""

SMALL = (
    "--dataset=synthetic",
    "--train_examples=640",
    "--test_examples=100",
    "--batch_size=32",
    "--latent_dim=8",
    "--summary_steps=5",
)


def wait_for(process, text):
    """Reads a job's output until a line has `text`; returns what was read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"the job ended without {text!r}: {lines}")
