// A worker in Go, with asynq as it is, for tasks that cronmill schedules or that anybody enqueues.
//
// It takes its configuration from the variables that cronmill gives its workers, so a TaskQueue may name it:
//
//	go build -o go-worker . && CRONMILL_REDIS_URL=redis://127.0.0.1:6379 CRONMILL_QUEUES=default=1 ./go-worker
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/hibiken/asynq"
)

// greeting is the payload of a task of the type greet.
type greeting struct {
	Name string `json:"name"`
}

// greet runs one attempt. It may be called twice for one task, so what it does must bear that.
func greet(_ context.Context, task *asynq.Task) error {
	var input greeting
	if err := json.Unmarshal(task.Payload(), &input); err != nil {
		// Another attempt would find the same payload.
		return fmt.Errorf("read the payload: %v: %w", err, asynq.SkipRetry)
	}
	answer := fmt.Sprintf("hello %s", input.Name)
	fmt.Printf("task %s: %s\n", task.ResultWriter().TaskID(), answer)
	// Kept where the task has a retention: `cronmill task show` prints it.
	_, err := task.ResultWriter().Write([]byte(answer))
	return err
}

// queues reads names and weights, as in critical=6,default=3.
func queues(text string) (map[string]int, error) {
	weights := map[string]int{}
	for _, part := range strings.Split(text, ",") {
		name, weight, found := strings.Cut(part, "=")
		if !found {
			weight = "1"
		}
		number, err := strconv.Atoi(weight)
		if err != nil {
			return nil, fmt.Errorf("CRONMILL_QUEUES: %q is not NAME=WEIGHT", part)
		}
		weights[name] = number
	}
	return weights, nil
}

func run() error {
	redis, err := asynq.ParseRedisURI(cmp.Or(os.Getenv("CRONMILL_REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		return err
	}
	weights, err := queues(cmp.Or(os.Getenv("CRONMILL_QUEUES"), "default=1"))
	if err != nil {
		return err
	}
	concurrency, err := strconv.Atoi(cmp.Or(os.Getenv("CRONMILL_CONCURRENCY"), "20"))
	if err != nil {
		return fmt.Errorf("CRONMILL_CONCURRENCY: %w", err)
	}
	mux := asynq.NewServeMux()
	mux.HandleFunc("greet", greet)
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency:    concurrency,
		Queues:         weights,
		StrictPriority: os.Getenv("CRONMILL_STRICT") == "true",
	})
	// Returns after SIGTERM or SIGINT, when what runs has ended or was put back.
	return server.Run(mux)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
