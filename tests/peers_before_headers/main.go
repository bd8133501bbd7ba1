// Command peers_before_headers is a worker on the last asynq that knows no headers. It serves the queue `default`
// until SIGTERM or SIGINT: each task fails once, and then succeeds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers_before_headers:", err)
		os.Exit(1)
	}
}

func run() error {
	url := flag.String("redis", "", "URL of the Redis to use")
	flag.Parse()
	connection, err := asynq.ParseRedisURI(*url)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	server := asynq.NewServer(connection, asynq.Config{
		LogLevel:          asynq.WarnLevel,
		TaskCheckInterval: 20 * time.Millisecond,
		RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return 10 * time.Minute },
	})
	if err := server.Start(asynq.HandlerFunc(failOnce)); err != nil {
		return err
	}
	fmt.Println(`{"event":"ready"}`)
	<-signals
	server.Shutdown()
	return nil
}

func failOnce(ctx context.Context, _ *asynq.Task) error {
	if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
		return errors.New("the first attempt fails")
	}
	return nil
}
