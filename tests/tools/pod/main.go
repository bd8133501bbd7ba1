// The program of the only image that the test cluster brings along: it holds the namespaces of a pod, as its pause
// container, and asks and answers for tests, as a container of theirs.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const limit = 5 * time.Second

const usage = `pod pause               waits for a signal
pod resolve NAME        prints the addresses of a name
pod get URL             prints what a web server answers
pod serve ADDRESS TEXT  answers with a text
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	command := strings.Join(words[:min(1, len(words))], "")
	switch {
	case command == "pause" && len(words) == 1:
		pause()
		return nil
	case command == "resolve" && len(words) == 2:
		return resolve(words[1])
	case command == "get" && len(words) == 2:
		return get(words[1])
	case command == "serve" && len(words) == 3:
		return serve(words[1], words[2])
	}
	return fmt.Errorf("what to do?\n%s", usage)
}

func pause() {
	// Where a pod shares its processes' namespace, this is the first process: the system reaps what ends.
	signal.Ignore(syscall.SIGCHLD)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}

func resolve(name string) error {
	within, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(within, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	return nil
}

func get(url string) error {
	client := http.Client{Timeout: limit}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers with %s", url, answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func serve(address, text string) error {
	answer := func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(writer, text) }
	fmt.Println("listening on", address)
	return http.ListenAndServe(address, http.HandlerFunc(answer))
}
