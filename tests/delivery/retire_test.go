package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	batch "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// cronmill is our own program, built.
var cronmill = sync.OnceValues(func() (string, error) {
	build := exec.Command("cargo", "build", "--locked", "--bin", "cronmill", "--message-format=json-render-diagnostics")
	build.Dir, build.Stderr = root(), os.Stderr
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

// asAccount is cronmill as a pod in the release's namespace would run it, with an account there and none but its rights.
func asAccount(t *testing.T, account string, arguments ...string) *exec.Cmd {
	t.Helper()
	program, err := cronmill()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	user := config["users"].([]any)[0].(map[string]any)["user"].(map[string]any)
	user["as"] = "system:serviceaccount:cronmill-system:" + account
	if text, err = yaml.Marshal(config); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), account+".kubeconfig")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+path, "POD_NAMESPACE=cronmill-system", "POD_NAME="+account)
	return command
}

// operator starts one replica of the release's operator; where it logs, and what ends it before the test does.
func (c *cluster) operator(t *testing.T) (string, func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "operator.log"))
	if err != nil {
		t.Fatal(err)
	}
	operator := asAccount(t, "cronmill", "operator", "--listen=")
	operator.Stderr = log
	if err := operator.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		operator.Process.Signal(syscall.SIGTERM)
		operator.Wait()
		log.Close()
	})
	t.Cleanup(stop)
	return log.Name(), stop
}

// hook is what the chart runs before an uninstall: its arguments. What it runs as is made as Helm would.
func hook(t *testing.T) []string {
	t.Helper()
	text := must(t, "helm", "template", "cronmill", "charts/cronmill", "--namespace", "cronmill-system", "--show-only", "templates/retire.yaml")
	var job batch.Job
	var rights []string
	for _, document := range strings.Split(text, "\n---\n") {
		if !strings.Contains(document, "kind: Job\n") {
			rights = append(rights, document)
		} else if err := yaml.UnmarshalStrict([]byte(document), &job); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "rights.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(rights, "\n---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "kubectl", "apply", "--filename", path)
	t.Cleanup(func() { run("kubectl", "delete", "--filename", path) })
	if job.Spec.Template.Spec.ServiceAccountName != "cronmill-retire" {
		t.Fatalf("it runs as %q", job.Spec.Template.Spec.ServiceAccountName)
	}
	return job.Spec.Template.Spec.Containers[0].Args
}

func TestAnOperatorThatIsUninstalledFirstHoldsUpNoNamespace(t *testing.T) {
	here, _ := fresh(t)
	ctx := context.Background()
	release(t, "install", "charts/cronmill")
	here.established(t)
	here.namespace(t, "shop")
	queues := here.Resource(taskQueues).Namespace("shop")
	for _, policy := range []string{"Delete", "Drain"} {
		own := map[string]any{"secretRef": map[string]any{"name": "redis"}}
		queue := taskQueue(strings.ToLower(policy), map[string]any{"redis": own, "deletionPolicy": policy})
		if _, err := queues.Create(ctx, queue, v1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	held := func() []string {
		t.Helper()
		list, err := queues.List(ctx, v1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, each := range list.Items {
			if len(each.GetFinalizers()) > 0 {
				names = append(names, each.GetName())
			}
		}
		return names
	}
	log, stop := here.operator(t)
	until(t, "the operator holds both", func() string { return strings.Repeat("waits", 2-len(held())) })

	arguments := hook(t)
	until(t, "the hook runs with its rights", func() string {
		// What was just granted may take a moment; the Job tries again too.
		out, err := asAccount(t, "cronmill-retire", arguments...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "2 TaskQueues are no longer held by the operator") {
			return string(out)
		}
		for _, line := range []string{"shop/delete is free; its queues stay in Redis: default", "shop/drain is free"} {
			if !strings.Contains(string(out), line) {
				t.Errorf("no %q in\n%s", line, out)
			}
		}
		return ""
	})
	// The operator still runs, and sees each change.
	label := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	if _, err := queues.Patch(ctx, "delete", "application/merge-patch+json", label, v1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "forbidden") {
		t.Errorf("the operator lacks a right: %v\n%s", err, text)
	}
	uninstall(t)
	if names := held(); names != nil {
		t.Errorf("%v are held again", names)
	}
	stop()
	here.gone(t, "shop", 30*time.Second)
}

// gone deletes a namespace and fails the test when it is still there after a while.
func (c *cluster) gone(t *testing.T, name string, within time.Duration) {
	t.Helper()
	began := time.Now()
	if err := c.Resource(namespaces).Delete(context.Background(), name, v1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "namespace "+name+" goes", func() string {
		left, err := c.Resource(namespaces).Get(context.Background(), name, v1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		if err != nil {
			return err.Error()
		}
		status, _, _ := unstructured.NestedMap(left.Object, "status")
		return time.Since(began).String() + " and it is there: " + fmt.Sprint(status)
	})
	if took := time.Since(began); took > within {
		t.Errorf("namespace %s took %s", name, took)
	}
}
