package stubs

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	orderv1 "cronmill.dev/stubs/generated/cronmill/shop/order/v1"
	resourcesv1 "cronmill.dev/stubs/generated/cronmill/shop/resources/v1"
	tradev1 "cronmill.dev/stubs/generated/cronmill/shop/trade/v1"
)

// How long anything may take; the machine may be busy.
const patience = time.Minute

// cronmill is the program, built.
var cronmill = sync.OnceValues(func() (string, error) {
	build := exec.Command("cargo", "build", "--locked", "--bin", "cronmill", "--message-format=json-render-diagnostics")
	build.Dir, build.Stderr = "../..", os.Stderr
	out, err := build.Output()
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(out), "\n") {
		var message struct{ Executable string }
		if json.Unmarshal([]byte(line), &message) == nil && filepath.Base(message.Executable) == "cronmill" {
			return message.Executable, nil
		}
	}
	return "", os.ErrNotExist
})

// shop is one that serves, with what is behind it, for one test.
type shop struct {
	*grpc.ClientConn
	orders    orderv1.OrderServiceClient
	resources resourcesv1.ResourcesServiceClient
	trade     tradev1.TradeServiceClient
	database  string
	redisPort string
}

// start starts a shop with a hundred resources, ten users and a hundred orders.
func start(t *testing.T) *shop {
	t.Helper()
	program, err := cronmill()
	if err != nil {
		t.Fatalf("build cronmill: %v", err)
	}
	database := filepath.Join(t.TempDir(), "shop.db")
	fill := exec.Command(program, "shop", "generate", "--database", database, "--orders=100", "--users=10", "--seed=1")
	// Nothing of what this machine's environment says to cronmill.
	fill.Env = []string{}
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("fill the shop: %v\n%s", err, out)
	}
	redisPort := startRedis(t)
	serve := exec.Command(program, "shop", "serve", "--database", database, "--listen=127.0.0.1:0",
		"--redis-url=redis://127.0.0.1:"+redisPort)
	serve.Env = []string{}
	says := started(t, serve)
	var address string
	until(t, "the shop says where it serves", func() bool {
		found := regexp.MustCompile(`serves the shop at (127\.0\.0\.1:\d+)`).FindStringSubmatch(says())
		if found != nil {
			address = found[1]
		}
		return found != nil
	})
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	until(t, "the shop is healthy", func() bool {
		check := &grpc_health_v1.HealthCheckRequest{}
		answer, err := grpc_health_v1.NewHealthClient(connection).Check(context.Background(), check)
		return err == nil && answer.Status == grpc_health_v1.HealthCheckResponse_SERVING
	})
	return &shop{
		ClientConn: connection,
		orders:     orderv1.NewOrderServiceClient(connection),
		resources:  resourcesv1.NewResourcesServiceClient(connection),
		trade:      tradev1.NewTradeServiceClient(connection),
		database:   database,
		redisPort:  redisPort,
	}
}

// startRedis starts a Redis of this test alone and returns its port.
func startRedis(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	says := started(t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir()))
	until(t, "Redis is there", func() bool { return strings.Contains(says(), "Ready to accept connections") })
	return port
}

// redis is what Redis answers to a command.
func (s *shop) redis(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", s.redisPort}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// started starts a program, which ends with the test, and returns what tells all that it has said.
func started(t *testing.T, command *exec.Cmd) func() string {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	says := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		log.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(command.Path), says())
		}
	})
	return says
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("%s: not within %s", what, patience)
}

// method is a call of a stub.
type method[Request, Answer any] func(context.Context, Request, ...grpc.CallOption) (Answer, error)

// call is what a call answers; a refusal ends the test.
func call[Request, Answer any](t *testing.T, method method[Request, Answer], request Request) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := method(ctx, request)
	if err != nil {
		t.Fatalf("%T %v: %v", request, request, err)
	}
	return answer
}

// refusal is the code with which a call is refused.
func refusal[Request, Answer any](t *testing.T, method method[Request, Answer], request Request) codes.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := method(ctx, request)
	return status.Code(err)
}
