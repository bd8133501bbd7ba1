package main

import (
	"flag"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// inspection is one question to, or order for, asynq's Inspector.
type inspection struct {
	arguments string // Names of what follows the verb, for the usage text.
	run       func(inspector *asynq.Inspector, arguments []string) (any, error)
}

var inspections = map[string]inspection{
	"queues":  {"", listQueues},
	"queue":   {"QUEUE", viewQueue},
	"list":    {"QUEUE STATE", listTasks},
	"task":    {"QUEUE ID", readTask},
	"history": {"QUEUE DAYS", history},
	"servers": {"", listServers},
	"entries": {"", listEntries},
	"events":  {"ENTRY", listEvents},
	"pause":   {"QUEUE", order(func(i *asynq.Inspector, a []string) error { return i.PauseQueue(a[0]) })},
	"unpause": {"QUEUE", order(func(i *asynq.Inspector, a []string) error { return i.UnpauseQueue(a[0]) })},
	"run":     {"QUEUE ID", order(func(i *asynq.Inspector, a []string) error { return i.RunTask(a[0], a[1]) })},
	"archive": {"QUEUE ID", order(func(i *asynq.Inspector, a []string) error { return i.ArchiveTask(a[0], a[1]) })},
	"delete":  {"QUEUE ID", order(func(i *asynq.Inspector, a []string) error { return i.DeleteTask(a[0], a[1]) })},
	"cancel":  {"ID", order(func(i *asynq.Inspector, a []string) error { return i.CancelProcessing(a[0]) })},
}

// inspect does one inspection and prints its answer.
func inspect(flags *flag.FlagSet) func() error {
	return withRedis(flags, func(connection asynq.RedisConnOpt) error {
		verb := inspections[flags.Arg(0)]
		if verb.run == nil || flags.NArg()-1 != len(strings.Fields(verb.arguments)) {
			return errUsage{usage()}
		}
		inspector := asynq.NewInspector(connection)
		defer inspector.Close()
		result, err := verb.run(inspector, flags.Args()[1:])
		if err != nil {
			return fmt.Errorf("inspect %s: %w", flags.Arg(0), err)
		}
		say(result)
		return nil
	})
}

func usage() string {
	var lines []string
	for name, verb := range inspections {
		lines = append(lines, strings.TrimSpace("  inspect "+name+" "+verb.arguments))
	}
	sort.Strings(lines)
	return "one of\n  " + strings.Join(lines, "\n  ")
}

// order makes an inspection of something that answers nothing.
func order(do func(*asynq.Inspector, []string) error) func(*asynq.Inspector, []string) (any, error) {
	return func(inspector *asynq.Inspector, arguments []string) (any, error) {
		return true, do(inspector, arguments)
	}
}

func listQueues(inspector *asynq.Inspector, _ []string) (any, error) {
	queues, err := inspector.Queues()
	sort.Strings(queues)
	return orEmpty(queues), err
}

func viewQueue(inspector *asynq.Inspector, arguments []string) (any, error) {
	info, err := inspector.GetQueueInfo(arguments[0])
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"queue": info.Queue, "size": info.Size, "groups": info.Groups, "paused": info.Paused,
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
		"processed": info.Processed, "failed": info.Failed,
		"processed_total": info.ProcessedTotal, "failed_total": info.FailedTotal,
		"latency_s": info.Latency.Seconds(), "memory_bytes": info.MemoryUsage,
	}, nil
}

type lister func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)

// listTasks returns every task of that state, page after page.
func listTasks(inspector *asynq.Inspector, arguments []string) (any, error) {
	list, known := map[string]lister{
		"pending": inspector.ListPendingTasks, "active": inspector.ListActiveTasks,
		"scheduled": inspector.ListScheduledTasks, "retry": inspector.ListRetryTasks,
		"archived": inspector.ListArchivedTasks, "completed": inspector.ListCompletedTasks,
	}[arguments[1]]
	if !known {
		return nil, errUsage{fmt.Sprintf("no such state: %q", arguments[1])}
	}
	const size = 1000
	tasks := []taskView{}
	for page := 1; ; page++ {
		some, err := list(arguments[0], asynq.PageSize(size), asynq.Page(page))
		if err != nil {
			return nil, err
		}
		for _, info := range some {
			tasks = append(tasks, viewTask(info))
		}
		if len(some) < size {
			return tasks, nil
		}
	}
}

func readTask(inspector *asynq.Inspector, arguments []string) (any, error) {
	info, err := inspector.GetTaskInfo(arguments[0], arguments[1])
	if err != nil {
		return nil, err
	}
	return viewTask(info), nil
}

func history(inspector *asynq.Inspector, arguments []string) (any, error) {
	days, err := strconv.Atoi(arguments[1])
	if err != nil {
		return nil, errUsage{err.Error()}
	}
	stats, err := inspector.History(arguments[0], days)
	result := []map[string]any{}
	for _, day := range stats {
		result = append(result, map[string]any{
			"date": day.Date.Format(time.DateOnly), "processed": day.Processed, "failed": day.Failed,
		})
	}
	return result, err
}

func listServers(inspector *asynq.Inspector, _ []string) (any, error) {
	servers, err := inspector.Servers()
	result := []map[string]any{}
	for _, server := range servers {
		running := []map[string]any{}
		for _, one := range server.ActiveWorkers {
			running = append(running, map[string]any{
				"id": one.TaskID, "type": one.TaskType, "payload": string(one.TaskPayload), "queue": one.Queue,
				"started_s": unix(one.Started), "deadline_s": unix(one.Deadline),
			})
		}
		result = append(result, map[string]any{
			"id": server.ID, "host": server.Host, "pid": server.PID, "concurrency": server.Concurrency,
			"queues": server.Queues, "strict": server.StrictPriority, "status": server.Status,
			"started_s": unix(server.Started), "running": running,
		})
	}
	return result, err
}

func listEntries(inspector *asynq.Inspector, _ []string) (any, error) {
	entries, err := inspector.SchedulerEntries()
	result := []map[string]any{}
	for _, entry := range entries {
		options := []string{}
		for _, option := range entry.Opts {
			options = append(options, option.String())
		}
		result = append(result, map[string]any{
			"id": entry.ID, "spec": entry.Spec, "type": entry.Task.Type(), "payload": string(entry.Task.Payload()),
			"options": options, "next_s": unix(entry.Next), "previous_s": unix(entry.Prev),
		})
	}
	return result, err
}

func listEvents(inspector *asynq.Inspector, arguments []string) (any, error) {
	events, err := inspector.ListSchedulerEnqueueEvents(arguments[0], asynq.PageSize(1000))
	result := []map[string]any{}
	for _, event := range events {
		result = append(result, map[string]any{"id": event.TaskID, "enqueued_s": unix(event.EnqueuedAt)})
	}
	return result, err
}

func orEmpty[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}
