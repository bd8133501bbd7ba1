"""Tests of the list of features: what it names, and when a line of it is green."""

import contextlib
import io
import unittest

import features
from execute import Cargo
from features import FEATURES, Feature


class Listing(unittest.TestCase):
    def test_every_test_it_names_exists(self):
        missing = [test for feature in FEATURES for test in feature.tests if not features.exists(test)]
        self.assertEqual(missing, [])

    def test_every_feature_names_a_test_and_none_is_listed_twice(self):
        self.assertEqual([feature.name for feature in FEATURES if not feature.tests], [])
        self.assertEqual(len({feature.name for feature in FEATURES}), len(FEATURES))
        # asynq's README names sixteen besides the web UI; Redis Cluster is the seventeenth.
        self.assertEqual(len(FEATURES), 17)

    def test_what_is_no_test_does_not_exist(self):
        for wrong in (
            "worker::keeping::claim_and_die",
            "worker::keeping::a_scheduled_task_runs",
            "worker::attempts::a_scheduled_task_runs_at_its_second",
            "nowhere::a::b",
            "architecture::no::b",
        ):
            self.assertFalse(features.exists(wrong), wrong)

    def test_a_test_is_run_once_however_often_it_is_named(self):
        twice = (Feature("a", ("t::m::x", "u::y")), Feature("b", ("t::m::x", "t::z")))
        self.assertEqual(features.by_target(twice), {"t": ["m::x", "z"], "u": ["y"]})


class Judging(unittest.TestCase):
    FEATURE = Feature("a", ("t::x", "t::y"))

    def test_it_is_green_only_when_every_test_ran_and_passed(self):
        for ran, expected in (
            ({"t::x": True, "t::y": True}, "ok"),
            ({"t::x": True, "t::y": False}, "FAILED"),
            ({"t::x": True}, "NOT RUN"),
            ({}, "NOT RUN"),
        ):
            self.assertEqual(features.verdict(self.FEATURE, ran), expected, ran)
        self.assertEqual(features.verdict(Feature("none", ()), {}), "NOT RUN")

    def test_one_that_is_not_green_fails_the_whole(self):
        for ran, code in (({"t::x": True, "t::y": True}, 0), ({"t::x": True, "t::y": False}, 1), ({}, 1)):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.assertEqual(features.finish((self.FEATURE,), ran), code)
            self.assertIn("t::x, t::y", printed.getvalue())

    def test_tests_that_passed_are_known_by_name(self):
        reader = Cargo()
        for line in ("test a::b ... ok", "test a::c ... FAILED", "test a::d ... ignored"):
            reader.line(line)
        self.assertEqual((reader.count.passes, reader.count.failures), (["a::b"], ["a::c"]))


if __name__ == "__main__":
    unittest.main()
