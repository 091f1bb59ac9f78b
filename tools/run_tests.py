#!/usr/bin/env python3
"""Runs every GoogleTest binary of a build, the checks of floors and file sizes, and the Python tests.

The last line is the sum, exactly `N passed, N failed`, followed by `, N skipped` if tests were skipped.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Outcome:
    def __init__(self, name, passed=0, failed=0, skipped=0, output="", seconds=0.0):
        self.name, self.passed, self.failed, self.skipped = name, passed, failed, skipped
        self.output, self.seconds = output, seconds


def run_captured(command, limit, env=None):
    """Status and output of a command; one that hangs fails, and does not block the whole run."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit,
                              cwd=ROOT, env=env)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as timeout:
        return -1, (timeout.stdout or b"").decode(errors="replace") + f"\nstill running after {limit} s: killed"


def google_counts(report, status, output):
    """Counts from the binary's own report; a crash leaves no report, so then the printed lines are counted."""
    try:
        tests = [t for suite in json.loads(report.read_text())["testsuites"] for t in suite["testsuite"]]
    except (OSError, ValueError, KeyError):
        return output.count("[       OK ]"), max(1, output.count("[  FAILED  ]")), 0
    tests = [t for t in tests if t.get("status") == "RUN"]
    failed = sum("failures" in t for t in tests)
    skipped = sum(t.get("result") == "SKIPPED" for t in tests)
    if status != 0 and failed == 0:
        failed = 1  # every test passed but the process failed: a leak or a race was reported
    return len(tests) - failed - skipped, failed, skipped


def run_google(binary, limit):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        env = {**os.environ, "GTEST_OUTPUT": f"json:{report}", "GTEST_COLOR": "no"}
        status, output = run_captured([str(binary)], limit, env)
        passed, failed, skipped = google_counts(report, status, output)
    return Outcome(binary.name, passed, failed, skipped, output, time.monotonic() - began)


def run_pytest(python, limit):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.xml"
        status, output = run_captured([python, "-m", "pytest", "-q", f"--junitxml={report}", "tests"], limit)
        try:
            suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
            total, errors, failures, skipped = (int(suite.get(k)) for k in ("tests", "errors", "failures", "skipped"))
            failed = errors + failures
        except (OSError, xml.etree.ElementTree.ParseError, AttributeError):
            total, failed, skipped = 0, 1, 0
        if status not in (0, 5) and failed == 0:
            failed = 1
    return Outcome("pytest", max(0, total - failed - skipped), failed, skipped, output, time.monotonic() - began)


def run_check(name):
    """Runs tools/check_NAME, one check of the whole tree."""
    status, output = run_captured([str(ROOT / f"tools/check_{name}")], 60)
    return Outcome(name, int(status == 0), int(status != 0), 0, output)


def show(outcome):
    skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
    print(f"  {outcome.name:16} {outcome.passed:5} passed, {outcome.failed} failed{skipped}"
          f"  ({outcome.seconds:.1f} s)", flush=True)
    if outcome.failed:
        lines = outcome.output.splitlines()
        for at, line in enumerate(lines):
            if re.search(r"WARNING: ThreadSanitizer|ERROR: \w+Sanitizer", line):
                print("\n".join("    " + report for report in lines[at:at + 60]), flush=True)
                break
        print("\n".join("    " + line for line in lines if not re.match(r"\[( RUN  |       OK )", line))[-6000:],
              flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--floors", action="store_true", help="also check the order of the floors and the length of files")
    parser.add_argument("--pytest", metavar="PYTHON", help="also run tests/ with this interpreter")
    parser.add_argument("--slow", action="store_true", help="a sanitizer build: longer limits")
    parser.add_argument("--only", metavar="REGEX", default="", help="only the binaries whose name matches")
    options = parser.parse_args()

    limit = 3600 if options.slow else 900
    binaries = sorted(p for p in pathlib.Path(options.build).glob("*/*_test")
                      if p.is_file() and os.access(p, os.X_OK) and re.search(options.only, p.name))
    outcomes = [run_check("floors"), run_check("sizes")] if options.floors else []
    for outcome in outcomes:
        show(outcome)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run_google, b.resolve(), limit) for b in binaries]):
            outcomes.append(done.result())
            show(done.result())
    if options.pytest:
        outcomes.append(run_pytest(str(pathlib.Path(options.pytest).absolute()), limit))
        show(outcomes[-1])

    passed, failed, skipped = (sum(getattr(o, k) for o in outcomes) for k in ("passed", "failed", "skipped"))
    if not binaries and not options.only:
        failed += 1
        print("no test binaries were built", flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
