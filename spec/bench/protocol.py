# The line protocol between the benchmark and its workers in Python, and how they measure: see README.md here.

import math
import statistics
import sys
import time


class Skip(Exception):
    """The worker has nothing of the kind."""


def parse(line):
    verb, *fields = line.rstrip("\n").split("\t")
    request = {"verb": verb, "budget": 0.1, "mode": ""}
    for field in fields:
        name, value = field.split("=", 1)
        try:
            value = float(value) if "." in value or "e" in value else int(value)
        except ValueError:
            pass
        request[name] = value
    return request


def answer(status, *fields):
    print("\t".join((status,) + fields), flush=True)


def measure(step, budget):
    """Median seconds per call: a quarter of the budget warms up, then samples of at least a millisecond fill it."""
    warm, start, elapsed = 0, time.perf_counter(), 0.0
    while warm == 0 or elapsed < budget / 4:
        step()
        warm += 1
        elapsed = time.perf_counter() - start
    batch = max(1, int(1e-3 * warm / elapsed))
    samples = []
    start = time.perf_counter()
    while not samples or time.perf_counter() - start < budget:
        before = time.perf_counter()
        for _ in range(batch):
            step()
        samples.append((time.perf_counter() - before) / batch)
    return statistics.median(samples), len(samples) * batch


def filled(seed, scale, count):
    """Numbers that every worker makes alike: on +-scale, different for every seed."""
    return [(((i * 2654435761 + seed * 40503) & 0xFFFFFFFF) / 4294967296 * 2 - 1) * scale for i in range(1, count + 1)]


def resident(field):
    """A field of /proc/self/status in KiB, 0 where there is none."""
    try:
        with open("/proc/self/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith(field + ":")), 0)
    except OSError:
        return 0


class Worker:
    """make(request, setting) gives a function to time and one that gives the numbers to check, as a flat list.

    settings(request) lists what may make a case faster.  Its first turns try them all, the later ones keep the fastest."""

    TRIALS = 2

    def __init__(self):
        self.tried = {}  # by case: how often, and the least time of each setting

    def info(self):
        raise NotImplementedError

    def settings(self, request):
        return [None]

    def make(self, request, setting):
        raise NotImplementedError

    def choose(self, r):
        key = tuple((name, r.get(name)) for name in ("kind", "mode", "T", "N", "D", "H", "M"))
        candidates = self.settings(r)
        trials, least = self.tried.setdefault(key, [0, [math.inf] * len(candidates)])
        if trials < self.TRIALS and len(candidates) > 1:
            for i, setting in enumerate(candidates):
                least[i] = min(least[i], measure(self.make(r, setting)[0], r["budget"] / 2)[0])
            self.tried[key][0] += 1
        return candidates[least.index(min(least))]

    def time(self, r):
        setting = self.choose(r)
        seconds, calls = measure(self.make(r, setting)[0], r["budget"])
        answer("ok", "seconds=%.9g" % seconds, "calls=%d" % calls, "setting=%s" % (setting or "default"))

    def check(self, r):
        lists = [self.make(r, setting)[1]() for setting in self.settings(r)]
        for other in lists[1:]:
            if any(not math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) for a, b in zip(lists[0], other)):
                return answer("error", "its own settings disagree")
        answer("ok", "values=" + " ".join("%.9g" % v for v in lists[0]))

    def memory(self, r):
        before = resident("VmRSS")
        step = self.make(r, self.settings(r)[0])[0]
        for _ in range(3):
            step()
        answer("ok", "base_kib=%d" % before, "peak_kib=%d" % resident("VmHWM"))

    def serve(self):
        verbs = {"info": lambda r: answer("ok", *self.info()), "time": self.time, "check": self.check,
                 "memory": self.memory}
        for line in sys.stdin:
            request = parse(line)
            try:
                verbs[request["verb"]](request)
            except Skip as reason:
                answer("skip", str(reason))
            except Exception as fault:  # whatever a peer raises is its answer, and the worker goes on
                answer("error", " ".join(("%s: %s" % (type(fault).__name__, fault)).split()))
