package delivery

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// How long anything on the control plane may take; the machine may be busy.
const patience = 2 * time.Minute

var (
	cronTasks  = schema.GroupVersionResource{Group: "cronmill.dev", Version: "v1alpha1", Resource: "crontasks"}
	taskQueues = schema.GroupVersionResource{Group: "cronmill.dev", Version: "v1alpha1", Resource: "taskqueues"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	leases     = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
)

// cluster is a control plane without nodes, of this test run alone.
type cluster struct {
	state  string
	config *rest.Config
	dynamic.Interface
	discovery *discovery.DiscoveryClient
}

// theCluster starts it, once.
var theCluster = sync.OnceValues(func() (*cluster, error) {
	parent, err := os.MkdirTemp("", "cronmill-delivery-")
	if err != nil {
		return nil, err
	}
	state := filepath.Join(parent, "state")
	up := exec.Command("python3", filepath.Join(root(), "tests/cluster"), "up", "--control-plane", "--state", state)
	if out, err := up.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("start a control plane: %w\n%s", err, out)
	}
	started = state
	kubeconfig = filepath.Join(state, "admin.kubeconfig")
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	// Listing everything meets kinds that are on their way out.
	config.WarningHandler = rest.NoWarnings{}
	log.SetLogger(logr.Discard())
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	return &cluster{state, config, client, found}, err
})

// started is the folder of the cluster that runs.
var started string

func TestMain(m *testing.M) {
	code := m.Run()
	if started != "" {
		down := exec.Command("python3", filepath.Join(root(), "tests/cluster"), "down", "--state", started)
		if out, err := down.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "end the control plane: %v\n%s", err, out)
			code = 1
		}
		os.RemoveAll(filepath.Dir(started))
	}
	os.Exit(code)
}

func onCluster(t *testing.T) *cluster {
	t.Helper()
	here, err := theCluster()
	if err != nil {
		t.Fatal(err)
	}
	return here
}

// must runs a program and fails the test when it fails.
func must(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	out, err := run(name, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// until waits for a condition, which tells what is still missing.
func until(t *testing.T, what string, missing func() string) {
	t.Helper()
	last, end := "", time.Now().Add(patience)
	for time.Now().Before(end) {
		if last = missing(); last == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s: not within %s: %s", what, patience, last)
}

// inventory is everything there is, but for what a cluster writes all the time by itself.
func (c *cluster) inventory(t *testing.T) map[string]bool {
	t.Helper()
	_, lists, err := c.discovery.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			is := func(verb string) bool { return strings.Contains(strings.Join(resource.Verbs, " "), verb) }
			if strings.Contains(resource.Name, "/") || !is("list") || !is("delete") || resource.Kind == "Event" {
				continue
			}
			objects, err := c.Resource(group.WithResource(resource.Name)).List(context.Background(), v1.ListOptions{})
			if err != nil {
				continue // It has gone since it was discovered.
			}
			for _, each := range objects.Items {
				all[fmt.Sprintf("%s %s/%s", resource.Kind, each.GetNamespace(), each.GetName())] = true
			}
		}
	}
	return all
}

// added lists what is in one inventory and not in another, without what every namespace has.
func added(before, after map[string]bool) []string {
	var more []string
	for name := range after {
		if !before[name] && !strings.HasSuffix(name, "/kube-root-ca.crt") && !strings.HasPrefix(name, "ServiceAccount ") ||
			!before[name] && strings.Contains(name, "cronmill-system/cronmill") {
			more = append(more, name)
		}
	}
	sort.Strings(more)
	return more
}

// release installs or upgrades cronmill.
func release(t *testing.T, verb, path string, arguments ...string) string {
	t.Helper()
	all := append([]string{verb, "cronmill", path, "--namespace", "cronmill-system"}, arguments...)
	if verb == "install" {
		all = append(all, "--create-namespace")
	}
	return must(t, "helm", all...)
}

// No kubelet is here to run the Job that comes before an uninstall.
var withoutHooks = []string{"uninstall", "cronmill", "--namespace", "cronmill-system", "--no-hooks"}

func uninstall(t *testing.T) {
	t.Helper()
	must(t, "helm", withoutHooks...)
}

// clean removes every trace of what a test has installed, and waits until it is gone.
func (c *cluster) clean(t *testing.T, before map[string]bool) {
	t.Helper()
	run("helm", withoutHooks...)
	run("kubectl", "delete", "crd", "crontasks.cronmill.dev", "taskqueues.cronmill.dev", "--ignore-not-found")
	for _, name := range []string{"cronmill-system", "shop", "billing"} {
		c.Resource(namespaces).Delete(context.Background(), name, v1.DeleteOptions{})
	}
	until(t, "cleaning up", func() string { return strings.Join(added(before, c.inventory(t)), ", ") })
}

// fresh is the cluster and what is on it, with nothing of cronmill, and again so when the test has ended.
func fresh(t *testing.T) (*cluster, map[string]bool) {
	t.Helper()
	here := onCluster(t)
	before := here.inventory(t)
	t.Cleanup(func() { here.clean(t, before) })
	return here, before
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	if _, err := c.Resource(namespaces).Create(context.Background(), object, v1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Objects in it are refused until its account is there, which is made a moment later.
	until(t, "namespace "+name, func() string {
		accounts := schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
		if _, err := c.Resource(accounts).Namespace(name).Get(context.Background(), "default", v1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// taskQueue is an object with these fields beside its queues.
func taskQueue(name string, spec map[string]any) *unstructured.Unstructured {
	spec["queues"] = []any{map[string]any{"name": "default"}}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cronmill.dev/v1alpha1", "kind": "TaskQueue", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// defines says whether a definition has something at a path of its only version.
func (c *cluster) defines(t *testing.T, definition string, path ...string) bool {
	t.Helper()
	resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	object, err := c.Resource(resource).Get(context.Background(), definition, v1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(object.Object, "spec", "versions")
	_, there, _ := unstructured.NestedFieldNoCopy(versions[0].(map[string]any), path...)
	return there
}

// established waits until objects of both kinds can be made.
func (c *cluster) established(t *testing.T) {
	t.Helper()
	until(t, "the definitions", func() string {
		for _, resource := range []schema.GroupVersionResource{cronTasks, taskQueues} {
			if _, err := c.Resource(resource).Namespace(core.NamespaceAll).List(context.Background(), v1.ListOptions{}); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}

// mapper finds out the resource of a kind.
func (c *cluster) resource(t *testing.T, object *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	return c.Resource(plural).Namespace(object.GetNamespace())
}
