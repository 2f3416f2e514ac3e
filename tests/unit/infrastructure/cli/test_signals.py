"""A command that gets a signal to end cleans up, once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from shared.paths import ROOT

COMMAND = """
import time
from infrastructure.cli._exit import interrupt_on_termination
interrupt_on_termination()
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.3)
    print("tidied", flush=True)
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_cleans_up_even_after_a_second_signal(ending: signal.Signals) -> None:
    # as if the tests did not run under nohup
    usual = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    command = [sys.executable, "-c", usual + COMMAND]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(ending)
        time.sleep(0.1)
        process.send_signal(ending)
        assert process.stdout.readline() == "tidied\n"
    assert process.returncode == 0


def test_an_ignored_hangup_signal_stays_ignored() -> None:
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + COMMAND
    code = ignored.replace("time.sleep(60)", "time.sleep(0.5); print('done', flush=True)")
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "done\n"
