package delivery

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// redisServer is the URL of a Redis of this test alone.
func redisServer(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	free.Close()
	server := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	until(t, "Redis", func() string {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err.Error()
		}
		connection.Close()
		return ""
	})
	return "redis://" + address
}

func cronTask(name, schedule, queue string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cronmill.dev/v1alpha1", "kind": "CronTask", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"schedule": schedule, "queueRef": map[string]any{"name": queue}, "task": map[string]any{"type": "hello"},
		},
	}}
}

// What kstatus and Argo CD make of objects as an API server and the operator leave them, from the first moment on.
func TestANewObjectIsInProgressUntilTheOperatorHasSeenIt(t *testing.T) {
	here, _ := fresh(t)
	ctx := context.Background()
	release(t, "install", "charts/cronmill")
	here.established(t)
	here.namespace(t, "shop")
	must(t, "kubectl", "--namespace", "shop", "create", "secret", "generic", "redis", "--from-literal=url="+redisServer(t))
	on := func(secret string) map[string]any {
		return map[string]any{"redis": map[string]any{"secretRef": map[string]any{"name": secret}}}
	}
	objects := []struct {
		resource schema.GroupVersionResource
		object   *unstructured.Unstructured
		then     status.Status
		argo     string
	}{
		{taskQueues, taskQueue("sound", on("redis")), status.CurrentStatus, "Healthy"},
		{taskQueues, taskQueue("wrong", on("missing")), status.FailedStatus, "Degraded"},
		{cronTasks, cronTask("sound", "@hourly", "sound"), status.CurrentStatus, "Healthy"},
		{cronTasks, cronTask("wrong", "61 * * * *", "sound"), status.FailedStatus, "Degraded"},
	}
	judge := func(object *unstructured.Unstructured) string {
		t.Helper()
		result, err := status.Compute(object)
		if err != nil {
			t.Fatal(err)
		}
		argo, _ := health(t, object.Object)
		return fmt.Sprintf("%s, %s", result.Status, argo)
	}
	inProgress := fmt.Sprintf("%s, Progressing", status.InProgressStatus)
	for _, each := range objects {
		made, err := here.Resource(each.resource).Namespace("shop").Create(ctx, each.object, v1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := judge(made); got != inProgress {
			t.Errorf("new, %s %s is %s: %v", made.GetKind(), made.GetName(), got, made.Object["status"])
		}
	}
	here.operator(t)
	for _, each := range objects {
		client := here.Resource(each.resource).Namespace("shop")
		name, want := each.object.GetName(), fmt.Sprintf("%s, %s", each.then, each.argo)
		became := func(what string) {
			t.Helper()
			until(t, fmt.Sprintf("%s, %s %s is %s", what, each.resource.Resource, name, want), func() string {
				now, err := client.Get(ctx, name, v1.GetOptions{})
				if err != nil {
					return err.Error()
				}
				if got := judge(now); got != want {
					return fmt.Sprintf("%s: %v", got, now.Object["status"])
				}
				return ""
			})
		}
		became("seen")
		// What an edit answers is about the version before it.
		edit := []byte(`{"spec":{"catchUp":{"policy":"None"}}}`)
		if each.resource == taskQueues {
			edit = []byte(`{"spec":{"priority":"Strict"}}`)
		}
		edited, err := client.Patch(ctx, name, "application/merge-patch+json", edit, v1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := judge(edited); got != inProgress {
			t.Errorf("edited, %s %s is %s", edited.GetKind(), name, got)
		}
		became("edited")
	}
}
