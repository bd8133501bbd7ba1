package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// produced is what came of one enqueue.
type produced struct {
	ID    string `json:"id"`
	Queue string `json:"queue"`
	State string `json:"state"`
	// Error is duplicate, conflict or asynq's own text; empty when the task was stored.
	Error string `json:"error,omitempty"`
}

// produce enqueues one task described by flags, or many.
func produce(flags *flag.FlagSet) func() error {
	var spec taskSpec
	flags.StringVar(&spec.Type, "type", "ok", "the task's type")
	flags.StringVar(&spec.ID, "id", "", "its id; with --count, the ids are ID-0, ID-1, …")
	flags.StringVar(&spec.Queue, "queue", "", "its queue")
	flags.StringVar(&spec.Timeout, "timeout", "", "how long an attempt may take")
	flags.StringVar(&spec.Retention, "retention", "", "how long it stays readable once completed")
	flags.StringVar(&spec.Unique, "unique", "", "how long its lock holds")
	flags.StringVar(&spec.In, "in", "", "how long to wait before it runs")
	flags.StringVar(&spec.Group, "group", "", "the group it is aggregated in")
	flags.Int64Var(&spec.DeadlineS, "deadline", 0, "Unix second after which it must not run")
	flags.Int64Var(&spec.AtS, "at", 0, "Unix second at which it runs")
	flags.Func("payload", "its payload; without this flag there is none", func(text string) error {
		spec.Payload = &text
		return nil
	})
	flags.Func("max-retry", "how many retries may follow a failure", func(text string) error {
		spec.MaxRetry = new(int)
		_, err := fmt.Sscanf(text, "%d", spec.MaxRetry)
		return err
	})
	flags.Func("header", "KEY=VALUE, may be given several times", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found {
			return errors.New("not KEY=VALUE")
		}
		if spec.Headers == nil {
			spec.Headers = map[string]string{}
		}
		spec.Headers[key] = value
		return nil
	})
	count := flags.Int("count", 1, "how many such tasks")
	return withClient(flags, func(_ asynq.RedisConnOpt, client *asynq.Client) error {
		for n := range *count {
			one := spec
			if *count > 1 && spec.ID != "" {
				one.ID = fmt.Sprintf("%s-%d", spec.ID, n)
			}
			result, err := enqueue(client, one)
			if err != nil {
				return err
			}
			say(result)
		}
		return nil
	})
}

// enqueue stores one task. A refusal that asynq names is a result, not an error.
func enqueue(client *asynq.Client, spec taskSpec) (produced, error) {
	task, err := spec.task()
	if err != nil {
		return produced{}, errUsage{err.Error()}
	}
	info, err := client.Enqueue(task)
	switch {
	case errors.Is(err, asynq.ErrDuplicateTask):
		return produced{ID: spec.ID, Queue: spec.Queue, Error: "duplicate"}, nil
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return produced{ID: spec.ID, Queue: spec.Queue, Error: "conflict"}, nil
	case err != nil:
		return produced{ID: spec.ID, Queue: spec.Queue, Error: err.Error()}, nil
	}
	return produced{ID: info.ID, Queue: info.Queue, State: info.State.String()}, nil
}

// encoded is a task as asynq stored it: each field of its hash, in hexadecimal.
type encoded struct {
	produced
	Hash map[string]string `json:"hash,omitempty"`
}

// encode enqueues the tasks described by the JSON lines of standard input and prints their hashes.
func encode(flags *flag.FlagSet) func() error {
	return withClient(flags, func(connection asynq.RedisConnOpt, client *asynq.Client) error {
		store := connection.MakeRedisClient().(redis.UniversalClient)
		defer store.Close()
		return eachLine(os.Stdin, func(spec taskSpec) error {
			result, err := enqueue(client, spec)
			if err != nil || result.Error != "" {
				say(encoded{produced: result})
				return err
			}
			key := fmt.Sprintf("asynq:{%s}:t:%s", result.Queue, result.ID)
			fields, err := store.HGetAll(context.Background(), key).Result()
			if err != nil {
				return fmt.Errorf("read task %s: %w", result.ID, err)
			}
			for name, value := range fields {
				fields[name] = hex.EncodeToString([]byte(value))
			}
			say(encoded{result, fields})
			return nil
		})
	})
}

// eachLine decodes each non-empty line of JSON and hands it on.
func eachLine[T any](input io.Reader, use func(T) error) error {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var value T
		if err := json.Unmarshal(lines.Bytes(), &value); err != nil {
			return errUsage{fmt.Sprintf("line %q: %v", lines.Text(), err)}
		}
		if err := use(value); err != nil {
			return err
		}
	}
	return lines.Err()
}
