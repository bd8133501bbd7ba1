// Command asynqmon serves asynq's web console as its authors published it, on a port of its own of the loopback
// address. Tests and screenshots look at it. It prints one JSON line when it is ready.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

func main() {
	redis := flag.String("redis", "", "URL of the Redis to show, such as redis://127.0.0.1:6390/0")
	flag.Parse()
	if err := serve(*redis); err != nil {
		fmt.Fprintln(os.Stderr, "asynqmon:", err)
		os.Exit(1)
	}
}

func serve(url string) error {
	connection, err := asynq.ParseRedisURI(url)
	if err != nil {
		return fmt.Errorf("read --redis: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	handler := asynqmon.New(asynqmon.Options{RootPath: "/", RedisConnOpt: connection})
	defer handler.Close()
	ready := map[string]string{"event": "ready", "address": listener.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	return http.Serve(listener, handler)
}
