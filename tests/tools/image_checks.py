"""The image, for real: built, run, stopped, and looked into.

    make image-test

It needs root, Linux, and buildah, podman, runc and debootstrap, but no engine
that is running. Images and containers live in a folder of their own, which is
removed at the end; only the base system is kept for the next time. Not part of
`make test`: it takes minutes, and the network.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest

import trainer
from tests.tools.project import copy_project
from tests.tools.small_jobs import SMALL, wait_for
from trainer.runtime.command import LOADING

TOOLS = ("buildah", "podman", "runc", "debootstrap")
IMAGE = "localhost/vae-trainer"
BASE = "localhost/base"
USER = 10001
# What must not get in, however it came to lie there.
PRIVATE = (".env", ".git/config", "runs/vae/config.json")
STOP_SECONDS = 30


def report(text):
    """Prints a measured number; the tests run with `--capture=no`."""
    print(f"\n    {text}", flush=True)


def call(*command, **settings):
    """Runs a command that must succeed; returns its stdout."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, **settings
    )
    if done.returncode:
        print(done.stdout)
    done.check_returncode()
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def _tools():
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        pytest.exit(
            f"make image-test found no {', '.join(missing)}: run `apt-get "
            f"install {' '.join(TOOLS)}` (Debian 12 or later).",
            returncode=2,
        )
    if os.geteuid() != 0:
        pytest.exit(
            "make image-test runs as root, since a base system and an image "
            "hold files of other users: use `sudo make image-test`.",
            returncode=2,
        )


@pytest.fixture(scope="session")
def storage():
    """The options that keep buildah and podman in a folder of their own."""
    # podman allows its run root 50 characters.
    folder = tempfile.mkdtemp(prefix="vae-image-", dir="/var/tmp")
    # In a folder of its own: a driver refuses one where another has begun.
    probe = (f"--root={folder}/probe", f"--runroot={folder}/run")
    overlay = subprocess.run(
        ["buildah", *probe, "--storage-driver=overlay", "images"],
        capture_output=True,
        check=False,
    )
    # vfs is slow, since it copies the whole image for each layer and
    # container, but works on any file system, also inside a container.
    driver = "vfs" if overlay.returncode else "overlay"
    options = (
        f"--root={folder}/root",
        f"--runroot={folder}/run",
        f"--storage-driver={driver}",
    )
    report(f"storage: {driver}")
    yield options
    call("buildah", *options, "rm", "--all")
    call("podman", *options, "rm", "--all", "--force")
    call("podman", *options, "rmi", "--all", "--force")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def podman(storage):
    """The command that starts with podman."""
    return (
        "podman",
        *storage,
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
        "--runtime=runc",
    )


@pytest.fixture(scope="session")
def _base(podman, tmp_path_factory):
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "/var/tmp"))
    archive = cache / "vae-trainer-image-test" / "bookworm.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        folder = tmp_path_factory.mktemp("bookworm")
        include = "ca-certificates,python3,python3-pip,python3-venv"
        call(
            "debootstrap",
            "--variant=minbase",
            f"--include={include}",
            "bookworm",
            folder,
        )
        unfinished = archive.with_suffix(".unfinished")
        call(
            "tar", "--create", "--file", unfinished, "--directory", folder, "."
        )
        unfinished.rename(archive)
        shutil.rmtree(folder)
    call(*podman, "import", "--quiet", archive, BASE)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Options that let pip in a build find what pip on this machine finds."""
    settings = {}
    pip = call(sys.executable, "-m", "pip", "config", "list")
    for line in pip.splitlines():
        key, _, value = line.partition("=")
        # The environment comes first, and outranks the files.
        settings.setdefault(key.rpartition(".")[2], value.strip("'"))
    config = tmp_path_factory.mktemp("pip") / "pip.conf"
    lines = [f"{key} = {value}" for key, value in settings.items()]
    config.write_text("\n".join(["[global]", *lines, ""]))
    mounts = {config: "/etc/pip.conf"}
    for word in " ".join(settings.values()).split():
        path = pathlib.Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            # The pages of an index point to files beside it.
            path = path.parent if path.name == "simple" else path
            mounts[path] = path
    return [f"--volume={here}:{there}:ro" for here, there in mounts.items()]


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A copy of the project that can be changed, with private files in it."""
    folder = tmp_path_factory.mktemp("source")
    copy_project(folder)
    for name in PRIVATE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("private")
    return folder


@pytest.fixture(scope="session")
def build(_base, storage, volumes, source):
    """Runs `make image`; returns its output and the seconds it took."""

    def build(image):
        begin = time.monotonic()
        output = call(
            "make",
            "image",
            "ENGINE=buildah " + " ".join(storage),
            f"IMAGE={image}",
            "VARIANT=cpu",
            "ARGS=" + " ".join([f"--build-arg=BASE_IMAGE={BASE}", *volumes]),
            cwd=source,
            env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
            stderr=subprocess.STDOUT,
        )
        return output, time.monotonic() - begin

    return build


@pytest.fixture(scope="session")
def image(build, inspect):
    """The name of the image, built."""
    _, seconds = build(IMAGE)
    size = inspect(IMAGE)["Size"] - inspect(BASE)["Size"]
    report(
        f"first build: {seconds:.0f} s; size: {size / 1e6:,.0f} MB on a base "
        f"of {inspect(BASE)['Size'] / 1e6:,.0f} MB"
    )
    return IMAGE


@pytest.fixture(scope="session")
def inspect(podman):
    """Returns the record of an image."""

    def inspect(image):
        return json.loads(call(*podman, "image", "inspect", image))[0]

    return inspect


@pytest.fixture(scope="session")
def content(podman, image):
    """The folder in which the files of the image can be looked at."""
    yield pathlib.Path(call(*podman, "image", "mount", image).strip())
    call(*podman, "image", "unmount", image)


@pytest.fixture(scope="session")
def new_runs(tmp_path_factory):
    """Makes a folder to mount on /runs that any user may write to."""

    def new_runs():
        folder = tmp_path_factory.mktemp("runs")
        folder.chmod(0o1777)
        return folder

    return new_runs


@pytest.fixture(scope="session")
def start(podman, image):
    """Starts the image as strictly as it allows; returns a `Popen`."""

    def start(*flags, runs, options=(), access="rw", tmp=True, network="none"):
        return subprocess.Popen(
            [
                *podman,
                "run",
                "--rm",
                f"--network={network}",
                "--read-only",
                "--read-only-tmpfs=false",
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
                # podman adds an entry for an unknown user, Docker does not.
                "--passwd=false",
                # podman's own wishes are more than a small machine grants.
                "--ulimit=nofile=20000:20000",
                "--ulimit=nproc=10000:10000",
                f"--volume={runs}:/runs:{access}",
                *(["--tmpfs=/tmp"] if tmp else []),
                *options,
                image,
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def run(start):
    """Runs the image to its end; returns (exit code, stdout, stderr)."""

    def run(*flags, **settings):
        process = start(*flags, **settings)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err.removeprefix(f"{LOADING}\n")

    return run


@pytest.fixture(scope="session")
def trained(run, new_runs):
    """A /runs with a job in its default place; tests only read it."""
    runs = new_runs()
    begin = time.monotonic()
    code, out, err = run(*SMALL, "--epochs=1", runs=runs)
    report(f"one epoch of 640 images: {time.monotonic() - begin:.0f} s")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "New job in runs/vae."
    return runs


def test_it_trains_as_a_numbered_user_with_nothing_but_runs_and_tmp(trained):
    job = trained / "vae"
    assert (job / "finished.json").exists()
    assert (job / "plots" / "generated.png").exists()
    files = [path for path in trained.rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in files} == {USER}


def test_it_trains_as_a_user_that_it_has_never_heard_of(run, new_runs):
    runs = new_runs()
    runs.chmod(0o755)
    os.chown(runs, 54321, 54321)
    code, _, err = run(
        "--flagfile=configs/latent_2d.flags",
        *SMALL,
        "--epochs=1",
        runs=runs,
        options=["--user=54321:54321"],
    )
    assert (code, err) == (0, "")
    assert (runs / "vae" / "finished.json").stat().st_uid == 54321


def test_a_stopped_container_saves_and_its_next_run_finishes(
    start, run, new_runs, podman
):
    runs = new_runs()
    flags = (*SMALL, "--epochs=40", "--job_dir=/runs/stopped")
    process = start(*flags, runs=runs, options=["--name=job"])
    wait_for(process, "Epoch 1")
    begin = time.monotonic()
    call(*podman, "stop", "--time=60", "job")
    seconds = time.monotonic() - begin
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Interrupted by SIGTERM" in err
    assert seconds < STOP_SECONDS
    checkpoints = sorted((runs / "stopped" / "checkpoints").iterdir())
    step = int(checkpoints[-1].name.removeprefix("step-"))
    report(f"stopped in {seconds:.1f} s at step {step}: exit code 75")
    code, out, err = run(*flags, runs=runs)
    assert (code, err) == (0, "")
    assert out.startswith(f"Resuming /runs/stopped at step {step}.")
    assert (runs / "stopped" / "finished.json").exists()


def test_a_wrong_flag_exits_with_2(run, new_runs):
    code, out, err = run("--epoch=3", runs=new_runs())
    assert (code, out) == (2, "")
    assert err.startswith("ERROR: Unknown command line flag 'epoch'")


def test_without_a_folder_for_temporary_files_it_says_so(run, new_runs):
    code, _, err = run(*SMALL, "--epochs=1", runs=new_runs(), tmp=False)
    assert code == 1
    assert err.startswith("ERROR: There is no folder for temporary files")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("vae-gallery", ["--job_dir=runs/vae"]),
        ("vae-generate", ["--job_dir=runs/vae", "--output=/runs/drawn"]),
        ("vae-evaluate", ["--job_dir=runs/vae"]),
        ("vae-export", ["--job_dir=runs/vae", "--output=/runs/exported"]),
    ],
)
def test_the_other_commands_are_there_by_name(run, trained, command, flags):
    code, out, _ = run(
        *flags,
        runs=trained,
        options=[f"--entrypoint={command}"],
    )
    assert code == 0
    assert out


def test_tensorboard_shows_jobs_that_it_can_only_read(start, trained, podman):
    process = start(
        *("--logdir=/runs", "--host=127.0.0.1", "--port=0"),
        runs=trained,
        access="ro",
        network="host",
        options=["--entrypoint=tensorboard", "--name=board"],
    )
    address = None
    while address is None:
        line = process.stderr.readline()
        assert line, "TensorBoard ended without an address"
        address = re.search(r"http://127.0.0.1:\d+", line)
    shown = []
    deadline = time.monotonic() + 60
    while len(shown) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
        with urllib.request.urlopen(f"{address[0]}/data/runs") as answer:
            shown = json.load(answer)
    assert sorted(shown) == ["vae/logs/test", "vae/logs/train"]
    call(*podman, "stop", "--time=60", "board")
    process.communicate(timeout=60)


def test_it_holds_the_cpu_build_and_nothing_private(content):
    (packages,) = content.glob("opt/venv/lib/python3.*/site-packages")
    found = {path.name for path in packages.iterdir()}
    assert [name for name in found if name.startswith("tensorflow_cpu-")]
    assert not [name for name in found if name.startswith("tensorflow-")]
    assert not found & {"nvidia", "pip", "tests", "pytest"}
    assert found >= {"hypertune", "sklearn"}
    for name in PRIVATE:
        assert not list(content.rglob(name))
    assert not (content / "source").exists()
    assert not list(content.glob("root/.cache/*"))
    # A process that is taken over cannot change the program.
    owners = {path.lstat().st_uid for path in (content / "opt").rglob("*")}
    assert owners == {0}


def test_its_bytecode_was_compiled_by_the_build(content):
    (package,) = content.glob("opt/venv/lib/python3.*/site-packages/trainer")
    modules = {path.stem for path in package.glob("*.py")}
    compiled = package.glob("__pycache__/*.pyc")
    assert {path.name.split(".")[0] for path in compiled} == modules


def test_its_record_says_what_it_is(inspect, image):
    config = inspect(image)["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/opt/venv/bin/vae-train"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == trainer.__version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_a_changed_module_rebuilds_only_the_last_layers(
    build, image, inspect, source
):
    with (source / "trainer" / "task.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    output, seconds = build(f"{IMAGE}:changed")
    report(f"build after a change of trainer/task.py: {seconds:.0f} s")
    # Of what pip prints, the name of TensorFlow's wheel.
    assert "tensorflow_cpu-" not in output
    before = inspect(image)["RootFS"]["Layers"]
    after = inspect(f"{IMAGE}:changed")["RootFS"]["Layers"]
    assert before != after
    # The base, /runs, and the dependencies.
    assert before[:3] == after[:3]
