"""Runs of one small job that may be disturbed, and what they leave behind: for sweep and kills.

Everything of a run lies in a directory of its own: its logs and checkpoints (root/), its shared
memory (a directory under /dev/shm), its temporary files. Its processes are found by a word in their
environment, so that several labs can work side by side.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = "STOKER_TEST_LAB"
PATIENCE = 60.0


class Failed(Exception):
    """What a run did wrong, as a sentence."""


class Result:
    """What an undisturbed and a disturbed run must have in common."""

    def __init__(self, weights, metrics, names, files):
        self.weights = weights  # SHA-256
        self.metrics = metrics  # bytes of metrics.csv
        self.names = names  # name in checkpoints/ -> state hash
        self.files = files  # every path in the run's directory

    def differs(self, other):
        """In what, or an empty string."""
        if self.weights != other.weights:
            return f"other weights: {self.weights} instead of {other.weights}"
        if self.metrics != other.metrics:
            return "another metrics.csv"
        for what in ("names", "files"):
            a, b = getattr(self, what), getattr(other, what)
            if a != b:
                more, less = sorted(set(a) - set(b)), sorted(set(b) - set(a))
                other_state = [n for n in set(a) & set(b) if what == "names" and a[n] != b[n]]
                return f"{what}: too many {more}, missing {less}, another state {other_state}"
        return ""


class Lab:
    """One run: its directories and its processes."""

    def __init__(self, bin_dir, work, job, name):
        self.bin = bin_dir
        self.job = job
        self.dir = os.path.join(work, name)
        self.root = os.path.join(self.dir, "root")
        self.tmp = os.path.join(self.dir, "tmp")
        self.trace_path = os.path.join(self.dir, "trace")
        os.makedirs(self.tmp)
        self.slots = tempfile.mkdtemp(prefix="stoker-test-", dir=shm_base())
        self.mark = self.slots
        self.log = ""
        self.process = None

    def environment(self, fault=""):
        env = dict(os.environ)
        env.update({MARK: self.mark, "STOKER_SLOTS_DIR": self.slots, "TMPDIR": self.tmp})
        env.pop("STOKER_FAULT", None)
        env.pop("STOKER_FAULT_TRACE", None)
        if fault is not None:
            env["STOKER_FAULT_TRACE"] = self.trace_path
        if fault:
            env["STOKER_FAULT"] = fault
        return env

    def start(self, args, fault="", preexec=None):
        """Starts `stoker fit`; fault None: not even a trace."""
        self.out = open(os.path.join(self.dir, "log"), "a+b")
        self.process = subprocess.Popen(
            [os.path.join(self.bin, "stoker"), "fit", self.job, *args,
             "--trainer.default_root_dir", self.root],
            env=self.environment(fault), stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=subprocess.STDOUT, cwd=self.dir, preexec_fn=preexec)
        return self.process

    def wait(self, patience=PATIENCE):
        """The exit status; a run that does not end is a failure, and is ended."""
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            state = describe(self.processes())
            self.kill_all()
            raise Failed(f"not at its end after {patience:.0f} s: {state}; {self.last_words()}")
        self.out.seek(0)
        self.log = self.out.read().decode(errors="replace")
        return status

    def run(self, args, fault="", patience=PATIENCE):
        self.start(args, fault)
        return self.wait(patience)

    def last_words(self):
        self.out.seek(0)
        return " / ".join(self.out.read().decode(errors="replace").splitlines()[-3:])

    def run_dir(self):
        """The newest version's directory, or None."""
        parent = os.path.join(self.root, "lightning_logs")
        versions = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
        return os.path.join(parent, versions[-1]) if versions else None

    def result(self):
        run = self.run_dir()
        checkpoints = os.path.join(run, "checkpoints")
        names = {n: state_of(os.path.join(checkpoints, n)) for n in os.listdir(checkpoints)}
        with open(os.path.join(run, "metrics.csv"), "rb") as f:
            metrics = f.read()
        files = {os.path.relpath(os.path.join(d, n), run)
                 for d, dirs, there in os.walk(run) for n in dirs + there}
        hashed = subprocess.run(
            [os.path.join(self.bin, "stoker"), "ckpt", "hash", checkpoints + "/last"],
            env=self.environment(None), capture_output=True, text=True, check=False)
        if hashed.returncode != 0:
            raise Failed(f"stoker ckpt hash: {hashed.stderr or hashed.stdout}")
        return Result(hashed.stdout.split()[0], metrics, names, files)

    def chronicle(self):
        with open(os.path.join(self.run_dir(), "chronicle.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def trace(self):
        """[name, who, action or nothing] of every passage."""
        if not os.path.exists(self.trace_path):
            return []
        with open(self.trace_path, encoding="utf-8") as f:
            return [line.split() for line in f]

    def supervisor(self):
        with open(os.path.join(self.run_dir(), "run.json"), encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith('"pid"')).split()[1].strip(","))

    def children(self, role):
        """pids of the supervisor's children whose names begin so."""
        try:
            pid = self.supervisor()
            with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
                return [int(p) for p in f.read().split() if name_of(p).startswith(role)]
        except (OSError, StopIteration, TypeError):
            return []

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.supervisor()}/fd"))

    def processes(self):
        """pids of whatever runs on behalf of this lab."""
        word = f"{MARK}={self.mark}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if word in f.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def kill_all(self):
        for pid in self.processes():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        if self.process:
            self.process.wait()

    def leaks(self):
        """What is left of a run that has ended, as words; empty: nothing."""
        left = [f"process {p}" for p in describe(self.gone_soon())]
        for base in (self.slots, self.tmp):
            left += [os.path.join(base, n) for n in os.listdir(base)]
        for where, dirs, files in os.walk(self.root):
            left += [os.path.join(where, n) for n in dirs + files
                     if n.startswith(("tmp-", ".tmp", "trash-", ".trash")) or n.endswith(".tmp")]
        return left

    def gone_soon(self):
        """Processes that are still there when everybody had time to be reaped."""
        until = time.monotonic() + 2.0
        while self.processes() and time.monotonic() < until:
            time.sleep(0.01)
        return self.processes()

    def close(self):
        self.kill_all()
        shutil.rmtree(self.slots, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def shm_base():
    return os.environ.get("STOKER_SLOTS_DIR") or "/dev/shm"


def state_of(path):
    """What a name in a directory of checkpoints stands for: the state's hash, or the bytes."""
    if os.path.basename(path).startswith(("tmp-", "trash-")):
        return "torn"
    if os.path.isdir(path):
        with open(os.path.join(path, "MANIFEST"), encoding="utf-8") as f:
            for line in f:
                if line.startswith('"state_hash"'):
                    return line.split('"')[3]
        raise Failed(f"{path}: no state in its MANIFEST")
    with open(path, "rb") as f:
        return f.read()


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def describe(pids):
    words = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                words.append(f"{pid} {' '.join(f.read().split()[1:4])}")
        except OSError:
            pass
    return words


def find_bin(variable, preset):
    """The directory of built programs: what the variable names, else the preset's; or a skip."""
    path = os.environ.get(variable) or os.path.join(HERE, "..", "..", "build", preset, "bin")
    if not os.path.exists(os.path.join(path, "stoker")):
        print(f"skip: no programs in {path}; cmake --preset {preset}, or name others in {variable}")
        sys.exit(77)
    return os.path.realpath(path)
