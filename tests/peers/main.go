// Command peers is what real Go programs on asynq do: produce, work, inspect. Tests run it beside cronmill on
// one Redis and compare. It prints JSON, one value per line, on standard output; everything else goes to
// standard error. Exit code 2 for a wrong call, 1 for a failure.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/hibiken/asynq"
)

// command is one subcommand: it declares its flags and returns what to run once they are parsed.
type command func(flags *flag.FlagSet) func() error

var commands = map[string]command{
	"produce": produce,
	"encode":  encode,
	"work":    work,
	"inspect": inspect,
	"bench":   bench,

	"bench-groups": benchGroups,
	"bench-unique": benchUnique,
}

// errUsage marks a wrong call.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		if _, usage := err.(errUsage); usage {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errUsage{"the first argument is one of produce, encode, work, inspect, bench, bench-groups, bench-unique"}
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	action := commands[args[0]](flags)
	if err := flags.Parse(args[1:]); err != nil {
		return errUsage{err.Error()}
	}
	return action()
}

// withRedis declares --redis and returns an action that is given the connection it names.
func withRedis(flags *flag.FlagSet, run func(asynq.RedisConnOpt) error) func() error {
	url := flags.String("redis", "", "URL of the Redis to use, such as redis://127.0.0.1:6390/0")
	return func() error {
		if *url == "" {
			return errUsage{"--redis is missing"}
		}
		connection, err := asynq.ParseRedisURI(*url)
		if err != nil {
			return err
		}
		return run(connection)
	}
}

// withClient is withRedis for what enqueues.
func withClient(flags *flag.FlagSet, run func(asynq.RedisConnOpt, *asynq.Client) error) func() error {
	return withRedis(flags, func(connection asynq.RedisConnOpt) error {
		client := asynq.NewClient(connection)
		defer client.Close()
		return run(connection, client)
	})
}

// serve runs a server until done is closed.
func serve(connection asynq.RedisConnOpt, config asynq.Config, handler asynq.Handler, done <-chan struct{}) error {
	config.LogLevel = asynq.FatalLevel
	server := asynq.NewServer(connection, config)
	if err := server.Start(handler); err != nil {
		return err
	}
	<-done
	server.Shutdown()
	return nil
}

var stdout struct {
	sync.Mutex
	encoder *json.Encoder
}

// say prints one JSON line; safe from several goroutines.
func say(value any) {
	stdout.Lock()
	defer stdout.Unlock()
	if stdout.encoder == nil {
		stdout.encoder = json.NewEncoder(os.Stdout)
		stdout.encoder.SetEscapeHTML(false)
	}
	if err := stdout.encoder.Encode(value); err != nil {
		fmt.Fprintln(os.Stderr, "peers: print:", err)
		os.Exit(1)
	}
}
