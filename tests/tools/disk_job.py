"""Trains as `vae-train` does, on a machine that has no memory for images.

    python -m tests.tools.disk_job FLAGS

A dataset that `vae-data prepare` made is then read from the disk at each
step, as one is that is larger than a quarter of the memory.
"""

from trainer import task


def main():
    """Runs it; ends the process."""
    load = task._load

    def load_without_memory():
        load()
        from trainer.data import images

        images.memory_bytes = lambda: 0

    task._load = load_without_memory
    task.main()


if __name__ == "__main__":
    main()
