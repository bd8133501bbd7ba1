"""asynq's own list of features, each with the tests that show it here: `python3 tests/run features`.

The list is that of asynq's README, in its order, and Redis Cluster. The web UI is not built yet. A line is green when
every test it names has run and passed, against a real Redis and mostly beside real Go programs.
"""

import re
from dataclasses import dataclass

import execute
import machine
import report
import tiers
from execute import Cargo, Step

# For all tests of one target, building included.
LIMIT_S = 1200


@dataclass(frozen=True)
class Feature:
    """What asynq says that it can, and the tests that show it: `target::module::test`."""

    name: str
    tests: tuple


FEATURES = (
    Feature(
        "at least one execution of a task",
        (
            "worker::outage::a_restart_of_redis_loses_nothing_and_work_goes_on_within_two_seconds",
            "interop::together::both_workers_share_a_queue_and_every_task_runs_once",
        ),
    ),
    Feature(
        "scheduling of tasks",
        (
            "worker::keeping::a_scheduled_task_runs_at_its_second",
            "interop::from_go::a_scheduled_task_from_go_runs_here_at_its_time",
            "interop::to_go::a_scheduled_task_of_ours_runs_in_go_at_its_time",
        ),
    ),
    Feature(
        "retries of failed tasks",
        (
            "worker::keeping::a_failed_task_is_run_again_after_its_delay",
            "interop::from_go::a_failing_task_from_go_is_retried_here_and_go_sees_why",
            "interop::to_go::a_failing_task_of_ours_is_retried_in_go_with_its_headers",
        ),
    ),
    Feature(
        "recovery of tasks when a worker crashes",
        (
            "interop::crash::a_task_of_a_killed_worker_of_ours_is_finished_by_another_of_ours",
            "interop::crash::a_task_of_a_killed_worker_of_ours_is_finished_by_go",
            "interop::crash::a_task_of_a_killed_go_worker_is_finished_by_ours_at_no_attempt",
        ),
    ),
    Feature(
        "weighted priority queues",
        (
            "worker::selection::weights_are_shares_while_all_queues_have_work",
            "interop::together::weights_are_the_shares_of_both_workers_together",
        ),
    ),
    Feature(
        "strict priority queues",
        (
            "worker::selection::strict_queues_are_served_in_order",
            "interop::together::what_is_strictly_first_is_first_in_both_workers",
        ),
    ),
    Feature("low latency to add a task", ("bench::an_idle_worker_picks_a_task_up_within_ten_milliseconds",)),
    Feature(
        "unique tasks",
        (
            "redis::unique::a_second_unique_task_is_refused_with_the_id_of_the_first",
            "interop::unique::a_unique_task_of_go_keeps_ours_out_and_the_other_way_round",
        ),
    ),
    Feature(
        "timeout and deadline per task",
        (
            "worker::attempts::a_deadline_that_passes_while_it_runs_archives_and_a_timeout_retries",
            "interop::limits::gos_timeouts_and_deadlines_hold_here",
        ),
    ),
    Feature(
        "aggregating groups of tasks",
        (
            "worker::groups::each_group_becomes_one_task_that_runs",
            "interop::groups::a_group_that_go_fills_is_aggregated_here_and_its_locks_are_free",
            "interop::groups::a_group_that_we_fill_is_aggregated_by_go_also_when_it_was_scheduled",
        ),
    ),
    Feature(
        "handlers with middleware",
        (
            "worker::attempts::an_unknown_type_is_put_back_by_name_also_through_middleware",
            "worker::attempts::the_kind_of_an_error_decides_what_becomes_of_the_task",
        ),
    ),
    Feature(
        "pausing a queue",
        (
            "worker::selection::a_pause_holds_without_a_busy_loop_and_ends_within_a_second",
            "interop::from_go::a_pause_by_go_holds_here_until_go_lifts_it",
            "interop::steering::a_pause_of_ours_holds_in_go_and_only_keeping_ends_it",
        ),
    ),
    Feature(
        "periodic tasks",
        (
            "dev::firing::a_manifest_fires_and_its_worker_runs_the_task",
            "interop::ticks::each_tick_runs_once_in_go_while_two_processes_fire",
        ),
    ),
    Feature("Redis Cluster", ("links::programs::local_mode_its_workers_and_the_commands_run_on_a_cluster",)),
    Feature(
        "Redis Sentinels, for high availability",
        ("links::sentinel::a_killed_master_is_replaced_under_load_and_nothing_hangs",),
    ),
    Feature(
        "Prometheus metrics",
        (
            "handlers::worker::metrics_count_what_was_done",
            "dev::metrics::metrics_agree_with_redis_and_with_what_happened",
        ),
    ),
    Feature(
        "command line to inspect and steer queues and tasks",
        (
            "cli::queue::queues_are_listed_with_their_numbers",
            "cli::queue::a_pause_holds_until_it_is_resumed",
            "cli::task::a_task_that_waits_is_run_at_once",
            "cli::many::tasks_are_archived_edited_and_given_another_time_by_their_ids",
        ),
    ),
)


def by_target(features=FEATURES):
    """The tests to run, each once, by test target: their paths within it."""
    found = {}
    for feature in features:
        for test in feature.tests:
            target, path = test.split("::", 1)
            found.setdefault(target, {})[path] = None
    return {target: list(paths) for target, paths in found.items()}


def exists(test):
    """Whether there is a test of that path."""
    target, *modules, name = test.split("::")
    folder = tiers.ROOT / "tests" / target
    source = folder.joinpath(*modules).with_suffix(".rs") if modules else folder / "main.rs"
    if target not in tiers.targets_here() or not source.exists():
        return False
    head = rf"^#\[(?:tokio::)?test\b[^\n]*\]\n(?:(?:#\[|//)[^\n]*\n)*(?:async )?fn {re.escape(name)}\("
    return re.search(head, source.read_text(), re.M) is not None


def verdict(feature, ran):
    """`ok`, or what is wrong; `ran` says of each test that ran whether it passed."""
    for test in feature.tests:
        if test not in ran:
            return "NOT RUN"
        if not ran[test]:
            return "FAILED"
    return "ok" if feature.tests else "NOT RUN"


def run():
    """Runs all of them, prints the list, and returns the exit code."""
    targets = by_target()
    needs = {tier.name: tier.needs for tier in tiers.all_tiers()}
    tools = machine.prepare(sorted({need for target in targets for need in needs[target]}))
    report.print_tools(tools)
    ran = {}
    for target, paths in targets.items():
        if lacking := [lack for need in needs[target] if (lack := tools[need].lacks())]:
            print(f"\n{target}: not run: {'; '.join(lacking)}", flush=True)
            continue
        argv = ("cargo", "test", "--locked", "--no-fail-fast", "--test", target, "--", "--exact", *paths)
        count = execute.run(Step(target, argv, Cargo), LIMIT_S, tiers.environment())
        ran.update({f"{target}::{path}": True for path in count.passes})
        ran.update({f"{target}::{path}": False for path in count.failures})
    return finish(FEATURES, ran)


def finish(features, ran):
    """Prints one line per feature; the exit code is 0 when all are green."""
    verdicts = [verdict(feature, ran) for feature in features]
    width = max(len(feature.name) for feature in features)
    print()
    for feature, result in zip(features, verdicts):
        print(f"{result:<7}  {feature.name:<{width}}  {', '.join(feature.tests)}")
    green = verdicts.count("ok")
    print(f"\n{green} of {len(features)} features of asynq's list are green", flush=True)
    return 0 if green == len(features) else 1
