"""Runs a program on a terminal of its own and types at it: steps are JSON, [what to wait for, what to type] each.

Prints what was on the screen, then a line `exit N`, and a last line that says whether the terminal was given back as it was.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

steps = json.loads(sys.argv[1])
pid, screen = pty.fork()
if pid == 0:
    # Whoever has started this may ignore it.
    os.execvp(sys.argv[2], sys.argv[2:])


def resize(rows, columns):
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(33, 77)
before = termios.tcgetattr(screen)
said, seen, until = b"", 0, time.time() + 25
while True:
    while steps:
        found = re.search(steps[0][0].encode(), said[seen:], re.DOTALL)
        if not found:
            break
        seen += found.end()
        typed = steps.pop(0)[1].encode()
        if typed.startswith(b"RESIZE"):
            resize(44, 99)
            time.sleep(0.3)
            typed = typed[len(b"RESIZE"):]
        os.write(screen, typed)
    if time.time() > until:
        said += b"\n(it did not end; waited for " + repr(steps[:1]).encode() + b")"
        os.kill(pid, 9)
        break
    if select.select([screen], [], [], 0.2)[0]:
        try:
            chunk = os.read(screen, 65536)
        except OSError:
            break
        if not chunk:
            break
        said += chunk
same = True
try:
    same = termios.tcgetattr(screen) == before
except termios.error:
    pass
_, status = os.waitpid(pid, 0)
sys.stdout.write(said.decode(errors="replace").replace("\r", ""))
print(f"\nexit {os.waitstatus_to_exitcode(status)}\nterminal {'as before' if same else 'changed'}")
