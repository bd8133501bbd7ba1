"""Runs a program in a terminal of its own and types one line once it asks; shows what the terminal showed."""

import os
import pty
import sys


def main(answer, argv):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    shown, is_typed = b"", False
    while True:
        try:
            some = os.read(terminal, 4096)
        except OSError:  # What Linux says when the program has left its terminal.
            break
        if not some:
            break
        shown += some
        if not is_typed and b"[y/N]" in shown:
            is_typed = True
            os.write(terminal, answer.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    sys.stdout.buffer.write(shown)
    sys.exit(os.waitstatus_to_exitcode(status))


main(sys.argv[1], sys.argv[2:])
