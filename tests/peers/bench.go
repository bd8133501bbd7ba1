package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// bench measures what asynq's own end-to-end benchmark measures: tasks of distinct types are stored first, then
// a server with that concurrency starts, and the clock runs from its start until the last handler was called.
func bench(flags *flag.FlagSet) func() error {
	redisOf := redisFlag(flags)
	tasks := flags.Int("tasks", 100_000, "how many tasks")
	concurrency := flags.Int("concurrency", 10, "how many run at once")
	return func() error {
		connection, err := redisOf()
		if err != nil {
			return err
		}
		if err := preload(connection, *tasks); err != nil {
			return err
		}
		server := asynq.NewServer(connection, asynq.Config{
			Concurrency:    *concurrency,
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
			LogLevel:       asynq.FatalLevel,
		})
		var left sync.WaitGroup
		left.Add(*tasks)
		var calls atomic.Int64
		start := time.Now()
		err = server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			// A task that comes twice must not end the run early, nor crash it.
			if calls.Add(1) <= int64(*tasks) {
				left.Done()
			}
			return nil
		}))
		if err != nil {
			return err
		}
		left.Wait()
		seconds := time.Since(start).Seconds()
		server.Shutdown()
		say(map[string]any{
			"tasks":       *tasks,
			"concurrency": *concurrency,
			"calls":       calls.Load(),
			"seconds":     seconds,
			"tasks_per_s": float64(*tasks) / seconds,
		})
		return nil
	}
}

func preload(connection asynq.RedisConnOpt, tasks int) error {
	client := asynq.NewClient(connection)
	defer client.Close()
	for n := range tasks {
		task := asynq.NewTask(fmt.Sprintf("task%d", n), fmt.Appendf(nil, `{"data":%d}`, n))
		if _, err := client.Enqueue(task); err != nil {
			return fmt.Errorf("store task %d: %w", n, err)
		}
	}
	return nil
}
