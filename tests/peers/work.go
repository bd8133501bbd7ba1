package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

// attempt is printed twice per attempt: when its handler starts, and when it has ended.
type attempt struct {
	Event    string            `json:"event"` // start or end
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Queue    string            `json:"queue"`
	Payload  string            `json:"payload"`
	Headers  map[string]string `json:"headers"`
	Retried  int               `json:"retried"`
	MaxRetry int               `json:"max_retry"`
	// DeadlineS is the attempt's deadline in Unix seconds.
	DeadlineS int64  `json:"deadline_s"`
	UnixNs    int64  `json:"unix_ns"`
	Error     string `json:"error,omitempty"`
}

// work runs an asynq server until SIGTERM or SIGINT. Types with a meaning: fail, result, sleep and stubborn; every other
// type just succeeds.
func work(flags *flag.FlagSet) func() error {
	queues := flags.String("queues", "default=1", "queues and weights, NAME=WEIGHT,…")
	config := asynq.Config{LogLevel: asynq.WarnLevel}
	flags.BoolVar(&config.StrictPriority, "strict", false, "whether weights are strict priorities")
	flags.IntVar(&config.Concurrency, "concurrency", 10, "how many tasks run at once")
	flags.DurationVar(&config.TaskCheckInterval, "poll", 20*time.Millisecond, "wait between looks at empty queues")
	flags.DurationVar(&config.DelayedTaskCheckInterval, "forward", time.Second, "wait between looks for due tasks")
	flags.DurationVar(&config.ShutdownTimeout, "drain", 8*time.Second, "how long running tasks may take at the end")
	flags.DurationVar(&config.JanitorInterval, "clean", 8*time.Second, "wait between looks for expired tasks")
	aggregates := flags.Bool("aggregate", false, "whether groups are aggregated: payloads joined with commas")
	flags.DurationVar(&config.GroupGracePeriod, "group-grace", time.Second, "how long a group waits for more")
	flags.DurationVar(&config.GroupMaxDelay, "group-max-delay", 0, "how long a group waits at most")
	flags.IntVar(&config.GroupMaxSize, "group-max-size", 0, "how many tasks are aggregated at most")
	types := flags.String("types", "", "patterns of a ServeMux, PATTERN,…; empty: every type is handled")
	retryDelay := flags.Duration("retry-delay", 0, "wait before each retry; 0 for asynq's own formula")
	return withRedis(flags, func(connection asynq.RedisConnOpt) error {
		var err error
		if config.Queues, err = parseQueues(*queues); err != nil {
			return errUsage{err.Error()}
		}
		if *retryDelay != 0 {
			config.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return *retryDelay }
		}
		if *aggregates {
			config.GroupAggregator = asynq.GroupAggregatorFunc(aggregate)
		}
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		server := asynq.NewServer(connection, config)
		if err := server.Start(handler(*types)); err != nil {
			return err
		}
		say(map[string]any{"event": "ready", "pid": os.Getpid()})
		<-signals
		server.Shutdown()
		say(map[string]any{"event": "closed"})
		return nil
	})
}

// handler handles every type, or those that a ServeMux finds by these patterns.
func handler(patterns string) asynq.Handler {
	if patterns == "" {
		return asynq.HandlerFunc(handle)
	}
	mux := asynq.NewServeMux()
	for _, pattern := range strings.Split(patterns, ",") {
		mux.HandleFunc(pattern, handle)
	}
	return mux
}

// aggregate joins the payloads of a group's tasks.
func aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	payloads := make([]string, len(tasks))
	for place, task := range tasks {
		payloads[place] = string(task.Payload())
	}
	joined := strings.Join(payloads, ",")
	say(attempt{Event: "aggregate", Type: group, Payload: joined, UnixNs: time.Now().UnixNano()})
	// Slow groups leave their test time to look.
	if strings.HasPrefix(group, "slow") {
		time.Sleep(3 * time.Second)
	}
	return asynq.NewTask("aggregated", []byte(joined))
}

func parseQueues(text string) (map[string]int, error) {
	queues := map[string]int{}
	for _, part := range strings.Split(text, ",") {
		name, weight, found := strings.Cut(part, "=")
		number, err := strconv.Atoi(weight)
		if !found || err != nil {
			return nil, fmt.Errorf("--queues: %q is not NAME=WEIGHT", part)
		}
		queues[name] = number
	}
	return queues, nil
}

func handle(ctx context.Context, task *asynq.Task) error {
	one := attempt{Event: "start", Type: task.Type(), Payload: string(task.Payload()), Headers: task.Headers()}
	one.ID, _ = asynq.GetTaskID(ctx)
	one.Queue, _ = asynq.GetQueueName(ctx)
	one.Retried, _ = asynq.GetRetryCount(ctx)
	one.MaxRetry, _ = asynq.GetMaxRetry(ctx)
	if deadline, set := ctx.Deadline(); set {
		one.DeadlineS = deadline.Unix()
	}
	one.UnixNs = time.Now().UnixNano()
	say(one)
	err := perform(ctx, task, one.Retried)
	one.Event = "end"
	one.UnixNs = time.Now().UnixNano()
	if err != nil {
		one.Error = err.Error()
	}
	say(one)
	return err
}

// plan is the payload of the types fail, sleep and stubborn.
type plan struct {
	// Times is how many attempts fail before one succeeds.
	Times int `json:"times"`
	// SkipRetry sends a failed task to the archive at once.
	SkipRetry bool `json:"skip_retry"`
	// Ms is how long to sleep, in milliseconds.
	Ms int64 `json:"ms"`
}

func perform(ctx context.Context, task *asynq.Task, retried int) error {
	switch task.Type() {
	case "fail":
		var wanted plan
		if err := json.Unmarshal(task.Payload(), &wanted); err != nil {
			return err
		}
		if retried >= wanted.Times {
			return nil
		}
		err := fmt.Errorf("attempt %d fails as asked", retried)
		if wanted.SkipRetry {
			return errors.Join(err, asynq.SkipRetry)
		}
		return err
	case "result":
		_, err := task.ResultWriter().Write(task.Payload())
		return err
	case "sleep":
		var wanted plan
		if err := json.Unmarshal(task.Payload(), &wanted); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(wanted.Ms) * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "stubborn":
		// A handler that does not hear that it is to stop.
		var wanted plan
		if err := json.Unmarshal(task.Payload(), &wanted); err != nil {
			return err
		}
		time.Sleep(time.Duration(wanted.Ms) * time.Millisecond)
		return nil
	default:
		return nil
	}
}
