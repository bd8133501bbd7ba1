package main

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// benchGroups measures how fast asynq aggregates groups that are ripe and stand in Redis already. The clock runs
// from the first call of the aggregator until the last one. The queue should be paused, so that nothing else is done.
func benchGroups(flags *flag.FlagSet) func() error {
	groups := flags.Int("groups", 10_000, "how many groups there are")
	return withRedis(flags, func(connection asynq.RedisConnOpt) error {
		var lock sync.Mutex
		var first, last time.Time
		var calls, tasks int
		done := make(chan struct{})
		aggregate := func(group string, members []*asynq.Task) *asynq.Task {
			lock.Lock()
			defer lock.Unlock()
			if calls == 0 {
				first = time.Now()
			}
			calls++
			tasks += len(members)
			last = time.Now()
			if calls == *groups {
				close(done)
			}
			return asynq.NewTask("aggregated", []byte(group))
		}
		config := asynq.Config{
			GroupAggregator:  asynq.GroupAggregatorFunc(aggregate),
			GroupGracePeriod: time.Second,
		}
		if err := serve(connection, config, asynq.NewServeMux(), done); err != nil {
			return err
		}
		say(map[string]any{
			"groups":       calls,
			"tasks":        tasks,
			"seconds":      last.Sub(first).Seconds(),
			"groups_per_s": float64(calls) / last.Sub(first).Seconds(),
		})
		return nil
	})
}

// benchUnique measures how fast callers enqueue unique tasks, each of which comes twice.
func benchUnique(flags *flag.FlagSet) func() error {
	tasks := flags.Int("tasks", 100_000, "how many calls")
	callers := flags.Int("callers", 64, "how many call at once")
	return withClient(flags, func(_ asynq.RedisConnOpt, client *asynq.Client) error {
		var next, stored, duplicates atomic.Int64
		failed := make(chan error, *callers)
		var running sync.WaitGroup
		start := time.Now()
		for range *callers {
			running.Go(func() {
				for n := next.Add(1) - 1; n < int64(*tasks); n = next.Add(1) - 1 {
					task := asynq.NewTask("unique", fmt.Appendf(nil, `{"data":%d}`, n/2))
					_, err := client.Enqueue(task, asynq.Unique(time.Hour))
					switch {
					case errors.Is(err, asynq.ErrDuplicateTask):
						duplicates.Add(1)
					case err != nil:
						failed <- err
						return
					default:
						stored.Add(1)
					}
				}
			})
		}
		running.Wait()
		seconds := time.Since(start).Seconds()
		select {
		case err := <-failed:
			return err
		default:
		}
		say(map[string]any{
			"stored":      stored.Load(),
			"duplicates":  duplicates.Load(),
			"seconds":     seconds,
			"calls_per_s": float64(*tasks) / seconds,
		})
		return nil
	})
}
