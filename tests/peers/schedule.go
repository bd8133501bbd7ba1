package main

import (
	"flag"
	"os"
	"os/signal"
	"syscall"

	"github.com/hibiken/asynq"
)

// schedule runs an asynq Scheduler with one entry until SIGTERM or SIGINT. It prints one line for each task that it
// has enqueued.
func schedule(flags *flag.FlagSet) func() error {
	spec := flags.String("spec", "@every 1s", "when to enqueue")
	kind := flags.String("type", "ok", "the task's type")
	return withRedis(flags, func(connection asynq.RedisConnOpt) error {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		scheduler := asynq.NewScheduler(connection, &asynq.SchedulerOpts{
			LogLevel: asynq.WarnLevel,
			PostEnqueueFunc: func(info *asynq.TaskInfo, err error) {
				if err == nil {
					say(map[string]any{"event": "enqueued", "id": info.ID})
				}
			},
		})
		if _, err := scheduler.Register(*spec, asynq.NewTask(*kind, nil)); err != nil {
			return errUsage{err.Error()}
		}
		if err := scheduler.Start(); err != nil {
			return err
		}
		say(map[string]any{"event": "ready", "pid": os.Getpid()})
		<-signals
		scheduler.Shutdown()
		return nil
	})
}
