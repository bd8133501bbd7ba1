package main

import (
	"context"
	"flag"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// bench measures what asynq's own end-to-end benchmark measures: tasks of distinct types are stored first, then
// a server with that concurrency starts, and the clock runs from its start until the last handler was called.
func bench(flags *flag.FlagSet) func() error {
	tasks := flags.Int("tasks", 100_000, "how many tasks")
	concurrency := flags.Int("concurrency", 10, "how many run at once")
	return withClient(flags, func(connection asynq.RedisConnOpt, client *asynq.Client) error {
		if err := preload(client, *tasks); err != nil {
			return err
		}
		config := asynq.Config{
			Concurrency:    *concurrency,
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
		}
		var calls atomic.Int64
		var seconds float64
		done := make(chan struct{})
		start := time.Now()
		err := serve(connection, config, asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			// A task that comes twice must not end the run early, nor crash it.
			if calls.Add(1) == int64(*tasks) {
				seconds = time.Since(start).Seconds()
				close(done)
			}
			return nil
		}), done)
		if err != nil {
			return err
		}
		say(map[string]any{
			"tasks":       *tasks,
			"concurrency": *concurrency,
			"calls":       calls.Load(),
			"seconds":     seconds,
			"tasks_per_s": float64(*tasks) / seconds,
		})
		return nil
	})
}

func preload(client *asynq.Client, tasks int) error {
	for n := range tasks {
		task := asynq.NewTask(fmt.Sprintf("task%d", n), fmt.Appendf(nil, `{"data":%d}`, n))
		if _, err := client.Enqueue(task); err != nil {
			return fmt.Errorf("store task %d: %w", n, err)
		}
	}
	return nil
}
