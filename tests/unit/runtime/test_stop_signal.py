import subprocess
import sys

INSTALLED = """
import os, signal, time
from trainer.runtime.stop_signal import StopSignal

def send(times, pause):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(pause)

stop = StopSignal()
stop.install()
"""


def end_of(program, before=""):
    """Returns the exit code and the output of a program."""
    done = subprocess.run(
        [sys.executable, "-c", before + INSTALLED + program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_signal_that_comes_twice_at_once_is_one():
    assert end_of("send(3, 0.05); print(stop.name)") == (0, "SIGTERM\n")


def test_control_c_is_a_stop_signal_too():
    program = "os.kill(os.getpid(), signal.SIGINT); time.sleep(0.5)"
    assert end_of(f"{program}; print(stop.name)") == (0, "SIGINT\n")


def test_a_second_signal_exits_at_once():
    assert end_of("send(2, 1.5); print('went on')") == (75, "")


def test_a_signal_after_that_of_another_worker_is_the_first():
    program = "stop.request('worker 1'); send(1, 0.5); print(stop.name)"
    assert end_of(program) == (0, "worker 1\n")


def test_a_terminal_that_is_closed_is_a_stop_signal_too():
    program = "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.5)"
    # The tests themselves may run under nohup.
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    end = end_of(f"{program}; print(stop.name)", before)
    assert end == (0, "SIGHUP\n")


def test_nohup_goes_on_when_the_terminal_is_closed():
    program = "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.5)"
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    end = end_of(f"{program}; stop.retire(); print(stop.requested)", before)
    assert end == (0, "False\n")
