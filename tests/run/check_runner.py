"""Tests of the runner: what it counts, and what it does at a limit."""

import contextlib
import io
import os
import sys
import time
import unittest

import execute
import licences
import machine
import proofs
import report
import tiers
from execute import Cargo, Check, Count, Go, Python, Step


def quiet(function, *arguments):
    """The function's result and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        return function(*arguments), printed.getvalue()


def count(reader, text):
    """What a reader counts in this output."""
    for line in text.splitlines():
        reader.line(line)
    return reader.count


class Reading(unittest.TestCase):
    def test_cargo_counts_every_binary(self):
        text = (
            "test a::b ... ok\ntest a::c ... FAILED\n"
            "test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out\n"
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
        )
        self.assertEqual(count(Cargo(), text), Count(4, 1, 2, ["a::c"]))

    def test_go_counts_tests_but_not_packages(self):
        text = (
            '{"Action":"run","Test":"TestA"}\n{"Action":"output","Test":"TestA","Output":"x\\n"}\n'
            '{"Action":"pass","Test":"TestA"}\n{"Action":"fail","Test":"TestB"}\n'
            '{"Action":"skip","Test":"TestC"}\n{"Action":"fail"}\n'
        )
        self.assertEqual(count(Go(), text), Count(1, 1, 1, ["TestB"]))

    def test_python_counts_errors_as_failures(self):
        text = "FAIL: a (b)\nERROR: c (d)\nRan 5 tests in 0.1s\nFAILED (failures=1, errors=1, skipped=1)\n"
        self.assertEqual(count(Python(), text), Count(2, 2, 1, ["a", "c"]))


class Running(unittest.TestCase):
    def run_python(self, code, limit_s=30, reader=Check):
        step = Step("step", (sys.executable, "-c", code), reader)
        return quiet(execute.run, step, limit_s)[0]

    def test_a_check_passes_by_its_exit_code(self):
        self.assertEqual(self.run_python("pass"), Count(passed=1))
        self.assertEqual(self.run_python("exit(3)"), Count(failed=1, failures=["step: exit code 3"]))

    def test_a_build_that_fails_is_a_failure_although_no_test_ran(self):
        self.assertEqual(self.run_python("exit(101)", reader=Cargo).failed, 1)

    def test_a_missing_command_is_a_failure(self):
        missing = Step("step", ("no-such-command-here",))
        self.assertEqual(quiet(execute.run, missing, 5)[0].failed, 1)

    def test_the_whole_group_is_killed_at_the_limit(self):
        code = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print('test', child.pid, '... FAILED', flush=True)\n"
            "time.sleep(600)"
        )
        start = time.monotonic()
        result = self.run_python(code, limit_s=2, reader=Cargo)
        self.assertLess(time.monotonic() - start, 30)
        child, why = result.failures
        self.assertIn("killed at its limit", why)
        self.assert_gone(int(child))

    def test_what_a_command_leaves_behind_is_killed(self):
        code = (
            "import subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print('test', child.pid, '... FAILED', flush=True)"
        )
        start = time.monotonic()
        child = self.run_python(code, reader=Cargo).failures[0]
        self.assertLess(time.monotonic() - start, 20)
        self.assert_gone(int(child))

    def assert_gone(self, process):
        """Fails unless the process ends soon; one that nobody has reaped yet has ended too."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                with open(f"/proc/{process}/stat") as stat:
                    if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
            except FileNotFoundError:
                try:
                    os.kill(process, 0)
                except ProcessLookupError:
                    return
            time.sleep(0.01)
        self.fail(f"process {process} still runs")


class Verdict(unittest.TestCase):
    def finish(self, count, ci=False):
        outcome = tiers.Outcome("tier", count)
        code, printed = quiet(report.finish, [outcome], ci)
        return code, printed.splitlines()[-1]

    def test_the_last_line_is_the_sum(self):
        self.assertEqual(self.finish(Count(2, 0, 1)), (0, "2 passed, 0 failed, 1 skipped"))

    def test_a_failure_fails_the_run(self):
        self.assertEqual(self.finish(Count(2, 1, 0))[0], 1)

    def test_a_skip_fails_the_run_only_in_continuous_integration(self):
        self.assertEqual(self.finish(Count(2, 0, 1), ci=True)[0], 1)

    def test_a_run_without_a_passed_test_fails(self):
        self.assertEqual(self.finish(Count(0, 0, 1))[0], 1)

    def test_a_tier_that_ran_no_test_fails(self):
        outcome, _ = quiet(tiers.run, tiers.Tier("empty", lambda: [], needs=()), {}, time.monotonic() + 60)
        self.assertEqual(outcome.count.failures, ["ran no test"])

    def test_a_tier_of_steps_that_are_alike_fails_when_one_ran_less(self):
        def step(name, passed):
            line = f"test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
            return Step(name, (sys.executable, "-c", f"print({line!r})"), Cargo)

        for passed, failed in ((3, 0), (2, 1)):
            tier = tiers.Tier("t", lambda passed=passed: [step("a", 3), step("b", passed)], needs=(), alike=True)
            outcome, _ = quiet(tiers.run, tier, {}, time.monotonic() + 60)
            self.assertEqual(outcome.count.failed, failed)

    def test_a_step_has_its_own_environment(self):
        code = "import os; exit(0 if os.environ['CRONMILL_OF_THE_STEP'] == 'x' else 1)"
        step = Step("step", (sys.executable, "-c", code), environment=(("CRONMILL_OF_THE_STEP", "x"),))
        self.assertEqual(quiet(execute.run, step, 30)[0], Count(passed=1))

    def test_a_tier_without_its_tool_is_skipped_with_the_reason(self):
        lacking = machine.Found(machine.TOOLS["go"], "1.19", False)
        tier = tiers.Tier("peers", lambda: self.fail("must not run"), needs=("go",))
        outcome, _ = quiet(tiers.run, tier, {"go": lacking}, time.monotonic() + 60)
        self.assertEqual((outcome.count.skipped, outcome.count.failed), (1, 0))
        self.assertIn("go 1.19 is older than 1.26", outcome.why)

    def test_settings_are_for_test_targets_that_exist(self):
        self.assertEqual(set(tiers.SETTINGS) - set(tiers.targets_here()), set())

    def test_an_unknown_tier_is_refused(self):
        with self.assertRaises(tiers.UnknownTier):
            tiers.choose(["no-such-tier"])


class Reviewing(unittest.TestCase):
    def test_licence_expressions(self):
        allowed = {"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"}
        for expression, expected in {
            "MIT": True,
            "GPL-3.0": False,
            "GPL-3.0 OR MIT": True,
            "GPL-3.0/MIT": True,
            "MIT AND GPL-3.0": False,
            "(GPL-3.0 OR ISC) AND MIT": True,
            "Apache-2.0 WITH LLVM-exception": True,
            "Apache-2.0": False,
        }.items():
            self.assertEqual(licences.permitted(expression, allowed), expected, expression)

    def test_a_git_source_is_refused(self):
        package = {"name": "a", "version": "1", "license": "MIT", "source": "git+https://example.org/a"}
        self.assertEqual(len(list(licences.complaints([package], {"MIT"}, set()))), 1)

    def test_tests_with_a_long_form_are_found(self):
        text = (
            "#[test]\nfn short() {\n    once();\n}\n\n"
            "async fn wait() {\n    full_size(1, 2);\n}\n\n"
            "#[tokio::test(flavor = \"multi_thread\")]\nasync fn long() {\n    let n = full_size(10, 1000);\n}\n\n"
            "#[tokio::test]\nasync fn by_another() {\n    wait().await;\n}\n"
        )
        self.assertEqual(proofs.long_tests(text), ["long", "by_another"])

    def test_versions_are_read_from_what_tools_print(self):
        for text, version in {
            "go version go1.26.8 linux/amd64": "1.26.8",
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1": "7.0.15",
            "cc (Debian 12.2.0-14+deb12u1) 12.2.0": "12.2.0",
            "no number": "unknown",
        }.items():
            self.assertEqual(machine.version_in(text), version)

    def test_versions_are_compared_by_number(self):
        self.assertTrue(machine.reaches("1.100.0", (1, 26)))
        self.assertFalse(machine.reaches("1.9", (1, 26)))
        self.assertFalse(machine.reaches("unknown", (1, 26)))


if __name__ == "__main__":
    unittest.main()
