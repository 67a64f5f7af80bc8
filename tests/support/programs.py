"""Programs that a test starts, looks at, and interrupts."""

import contextlib
import signal
import subprocess
import sys


@contextlib.contextmanager
def started(*arguments):
    """`python ARGUMENTS`, whose output can be read. Ctrl-C reaches it also where this process, as one of a shell's background,
    ignores it; and it does not outlive the test."""
    pipe = subprocess.PIPE
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=_hear_ctrl_c) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process):
    """Ctrl-C, and what the program then says of it."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[1]


def _hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
