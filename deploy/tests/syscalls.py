"""Compares what a server asked of the kernel with what its systemd unit lets through: system calls, families of sockets,
memory that is written and executed.

    syscalls.py UNIT TRACE     TRACE is what `strace -f` wrote; fails with what the unit would refuse
"""

import functools
import re
import subprocess
import sys

unit, trace = (open(path, errors="replace").read() for path in sys.argv[1:])
# What systemd lets a program do in any case, beside the group @default.
ALWAYS = {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn"}


def values(name):
    """The values of an option, line by line."""
    return [line.split() for line in re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)]


@functools.cache
def group(name):
    """All calls of a group of systemd's."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    entries = {line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
    return calls(entries)


def calls(entries):
    """Names of calls, groups among them resolved."""
    return set().union(*(group(entry) if entry.startswith("@") else {entry} for entry in entries))


def allowed():
    """What the lines of SystemCallFilter leave: the first is a list of what is allowed, later ones may take away of it."""
    lines = values("SystemCallFilter")
    assert lines and not lines[0][0].startswith("~"), "the unit allows all calls but some"
    left = calls(lines[0]) | group("@default") | ALWAYS
    for first, *more in lines[1:]:
        taken = first.startswith("~")
        listed = calls([first.removeprefix("~"), *more])
        left = left - listed if taken else left | listed
    return left


made = {}
for line in trace.splitlines():
    found = re.match(r"^(?:\d+ +)?([a-z][a-z0-9_]*)\((.*)", line)
    if found:
        made.setdefault(found[1], []).append(found[2])
# A trace that does not hold the server's daily work shows nothing.
missing = {"accept4", "socket", "fdatasync", "write", "mmap", "rename", "unlink"} - set(made)
assert not missing and len(made) > 40, f"the trace is not a server's: {len(made)} calls, without {missing}"

beyond = {name: lines[0][:100] for name, lines in made.items() if name not in allowed()}
assert not beyond, f"the unit refuses what the server does: {beyond}"
(families,) = values("RestrictAddressFamilies")
sockets = {re.match(r"AF_[A-Z0-9]+", line)[0] for name in ("socket", "socketpair") for line in made.get(name, [])}
assert sockets and sockets <= set(families), f"the unit refuses sockets of {sockets - set(families)}"
assert values("MemoryDenyWriteExecute") == [["yes"]]
both = [line for name in ("mmap", "mprotect", "pkey_mprotect") for line in made.get(name, [])
        if re.search(r"PROT_WRITE\|PROT_EXEC", line) or (name != "mmap" and "PROT_EXEC" in line)]
assert not both, f"memory that is written and executed: {both[:3]}"
real_time = [line for name in ("sched_setscheduler", "sched_setattr") for line in made.get(name, []) if re.search("SCHED_(FIFO|RR)", line)]
assert values("RestrictRealtime") == [["yes"]] and not real_time, real_time
print(f"unit: lets through the {len(made)} system calls that a run made, on sockets of {', '.join(sorted(sockets))}")
