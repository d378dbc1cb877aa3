#!/usr/bin/env python3
"""Random kills: ranks, the zygote, persisters, the spare, two ranks within 5 ms, all ranks, one
more while the run recovers; and the number of ranks changes meanwhile. The supervisor, or
everybody at once, and --resume. Each job ends with the bits of one that nobody disturbed, and
nothing is left. V = 4 on 1, 2, 3 and 4 ranks of 1 and of 2 threads.

STOKER_KILLS=N: so many kills in the long job (200; 1000 in tests/run long). STOKER_SEED=N.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))
from lab import HERE, Failed, Lab, find_bin  # noqa: E402

JOB = os.path.join(HERE, "kills.yaml")
EVENT_PATIENCE = 30.0


def steps_for(n_kills):
    """So many that the job is not over before its hunters are done."""
    return 300 + 25 * n_kills


class Hunt:
    """One job and who kills its processes."""

    def __init__(self, lab, rng, n_kills, ranks):
        self.lab, self.rng, self.wanted, self.ranks = lab, rng, n_kills, ranks
        self.killed = {}
        self.n_fds = {}  # by the number of ranks
        self.recovered = 0

    def n(self):
        return sum(self.killed.values())

    def chronicle(self, kind):
        """Entries of a kind so far; the last line may be half written."""
        try:
            return sum(e["kind"] == kind for e in self.lab.chronicle())
        except (OSError, TypeError, ValueError):
            return 0

    def wait_for(self, kind, n):
        until = time.monotonic() + EVENT_PATIENCE
        while self.chronicle(kind) < n:
            if self.lab.process.poll() is not None:
                raise Failed(f"the job ended (exit {self.lab.process.returncode}) after "
                             f"{self.n()} kills: {self.lab.last_words()}")
            if time.monotonic() > until:
                raise Failed(f"no {kind} number {n} within {EVENT_PATIENCE:.0f} s")
            time.sleep(0.002)

    def pids(self, role):
        return self.lab.children(role)

    def shoot(self, pids, what):
        n = 0
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                n += 1
            except ProcessLookupError:
                pass
        if n:
            self.killed[what] = self.killed.get(what, 0) + n
        return n

    def some_ranks(self, n):
        ranks = self.pids("stoker-rank")
        return self.rng.sample(ranks, min(n, len(ranks)))

    def kill_persister(self):
        """Whoever saves next; checkpoints come every few steps."""
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            found = self.pids("stoker-persist")
            if found:
                return self.shoot(found, "persister")
        return 0

    def one_round(self):
        """One incident; how many recoveries of ranks follow from it at least."""
        what = self.rng.choices(["rank", "pair", "all", "again", "zygote", "persister", "spare",
                                 "scale"], [8, 2, 2, 2, 2, 2, 1, 2])[0]
        if what == "rank":
            return self.shoot(self.some_ranks(1), "a rank")
        if what == "pair":
            first, *second = self.some_ranks(2)
            n = self.shoot([first], "two ranks within 5 ms")
            time.sleep(self.rng.uniform(0, 0.005))
            return n + self.shoot(second, "two ranks within 5 ms")
        if what == "all":
            return self.shoot(self.pids("stoker-rank"), "all ranks at once")
        if what == "again":
            n = self.shoot(self.some_ranks(1), "a rank")
            time.sleep(self.rng.uniform(0, 0.02))
            return n + self.shoot(self.some_ranks(1), "during recovery")
        if what == "zygote":
            self.shoot(self.pids("stoker-zygote"), "the zygote")
        elif what == "persister":
            self.kill_persister()
        elif what == "spare":
            self.shoot(self.pids("stoker-spare"), "the spare")
        else:
            subprocess.run([os.path.join(self.lab.bin, "stoker"), "scale", self.lab.run_dir(),
                            "--ranks", str(self.rng.randint(1, 4))], check=False,
                           env=self.lab.environment(None), stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return 0

    def run(self):
        self.wait_for("generation", 1)
        while self.n() < self.wanted:
            time.sleep(self.rng.expovariate(1 / 0.012))
            before = self.chronicle("recovery")
            if self.one_round():
                self.wait_for("recovery", before + 1)
                ranks = len(self.lab.children("stoker-rank"))
                self.n_fds.setdefault(ranks, []).append(self.lab.count_fds())


def check_fds(n_fds):
    """Descriptors of the supervisor per number of ranks: a leak of one per death would show."""
    for ranks, counts in n_fds.items():
        third = len(counts) // 3
        if third >= 5 and min(counts[-third:]) > max(counts[:third]):
            raise Failed(f"with {ranks} ranks the supervisor's descriptors grow: {counts}")


def undisturbed(bin_dir, work, steps):
    lab = Lab(bin_dir, work, JOB, f"calm-{steps}")
    if lab.run(["--trainer.max_steps", str(steps)], None) != 0:
        raise Failed(f"undisturbed: {lab.last_words()}")
    result = lab.result()
    lab.close()
    return result


def hunted(bin_dir, work, name, rng, n_kills, ranks, threads, expected):
    lab = Lab(bin_dir, work, JOB, name)
    since = time.monotonic()
    try:
        lab.start(["--trainer.max_steps", str(steps_for(n_kills)), "--ranks", str(ranks),
                   "--trainer.threads", str(threads)], None)
        hunt = Hunt(lab, rng, n_kills, ranks)
        hunt.run()
        at = max(e["step"] for e in lab.chronicle() if "step" in e)
        status = lab.wait(300.0)
        if status != 0:
            raise Failed(f"exit {status}: {lab.last_words()}")
        wrong = lab.result().differs(expected)
        if wrong:
            raise Failed(wrong)
        if lab.leaks():
            raise Failed(f"left: {lab.leaks()}")
        for e in lab.chronicle():
            if e["kind"] == "recovery" and (e["source"] != "slots" or e["recomputed"] > 1):
                raise Failed(f"not from the slots: {e}")
        check_fds(hunt.n_fds)
        print(f"{name}: {hunt.n()} kills ({hunt.killed}), {hunt.chronicle('generation')} "
              f"generations, the last at step {at}, {time.monotonic() - since:.1f} s", flush=True)
        return 0
    except Failed as e:
        print(f"FAILED {name}: {e}", flush=True)
        return 1
    finally:
        lab.close()


def resumed(bin_dir, work, rng, n_kills, steps, expected):
    """The supervisor dies, or everybody at once; each time --resume goes on from the slots."""
    lab = Lab(bin_dir, work, JOB, "resumed")
    args = ["--trainer.max_steps", str(steps), "--trainer.threads", "1"]
    since = time.monotonic()
    try:
        hunt = Hunt(lab, rng, n_kills, 2)
        for n in range(n_kills + 1):
            again = ["--resume"] if n else []
            lab.start([*args, "--ranks", str(rng.randint(1, 4)), *again], None)
            if n == n_kills:
                break
            hunt.wait_for("generation", hunt.chronicle("generation") + 1)
            time.sleep(rng.uniform(0, 0.1))
            everybody = rng.random() < 0.5
            hunt.shoot(lab.processes() if everybody else [lab.supervisor()],
                       "everybody" if everybody else "the supervisor")
            lab.process.wait()
            if lab.gone_soon():
                raise Failed(f"alive after their supervisor: {lab.gone_soon()}")
        status = lab.wait(300.0)
        if status != 0:
            raise Failed(f"exit {status}: {lab.last_words()}")
        sources = [e["source"] for e in lab.chronicle() if e["kind"] == "start"]
        if sources != ["start"] + n_kills * ["slots"]:
            raise Failed(f"went on from {sources}")
        wrong = lab.result().differs(expected)
        if wrong or lab.leaks():
            raise Failed(wrong or f"left: {lab.leaks()}")
        print(f"resumed: {n_kills} times ({hunt.killed}), {time.monotonic() - since:.1f} s")
        return 0
    except Failed as e:
        print(f"FAILED resumed: {e}", flush=True)
        return 1
    finally:
        lab.close()


def main():
    bin_dir = find_bin("STOKER_BIN", "release")
    seed = int(os.environ.get("STOKER_SEED") or random.SystemRandom().randrange(1 << 32))
    n_kills = int(os.environ.get("STOKER_KILLS") or 200)
    rng = random.Random(seed)
    work = tempfile.mkdtemp(prefix="stoker-kills-")
    print(f"STOKER_SEED={seed}", flush=True)
    failed = 0
    try:
        few = undisturbed(bin_dir, work, steps_for(4))
        for ranks in (1, 2, 3, 4):
            for threads in (1, 2):
                failed += hunted(bin_dir, work, f"{ranks} ranks, {threads} threads", rng, 4, ranks,
                                 threads, few)
        failed += resumed(bin_dir, work, rng, 6, 1000, undisturbed(bin_dir, work, 1000))
        many = undisturbed(bin_dir, work, steps_for(n_kills))
        failed += hunted(bin_dir, work, "many kills", rng, n_kills, 3, 1, many)
    except Failed as e:
        print(f"FAILED {e}")
        failed += 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
