package delivery

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const trial = "tests/charts/values/trial.yaml"

func TestUninstallingLeavesTheDefinitionsAndTheObjectsAndNothingElse(t *testing.T) {
	here, before := fresh(t)
	release(t, "install", "charts/cronmill", "--values", trial, "--set", "redis.bundled.persistence.enabled=true",
		"--set", "admissionPolicy.enabled=true", "--set", "admissionPolicy.checks.sharedRedis=false")
	here.established(t)
	must(t, "kubectl", "apply", "--kustomize", "deploy/gitops/shop")
	until(t, "what the release consists of", func() string {
		all := strings.Join(added(before, here.inventory(t)), "\n")
		for _, kind := range []string{
			"ClusterRole ", "ClusterRoleBinding ", "Deployment ", "Lease ", "NetworkPolicy ", "PersistentVolumeClaim ",
			"PodDisruptionBudget ", "Pod ", "Role ", "RoleBinding ", "Secret ", "Service ", "StatefulSet ",
			"ValidatingAdmissionPolicy ", "ValidatingAdmissionPolicyBinding ",
		} {
			if !strings.Contains("\n"+all, "\n"+kind) {
				return "no " + kind + "in\n" + all
			}
		}
		return ""
	})
	uninstall(t)
	want := []string{
		"APIService /v1alpha1.cronmill.dev",
		"CronTask shop/greet",
		"CronTask shop/update-user-earn",
		"CustomResourceDefinition /crontasks.cronmill.dev",
		"CustomResourceDefinition /taskqueues.cronmill.dev",
		"Namespace /cronmill-system",
		"Namespace /shop",
		"TaskQueue shop/shop",
	}
	until(t, "what is left", func() string {
		if got := added(before, here.inventory(t)); !reflect.DeepEqual(got, want) {
			return strings.Join(got, "\n")
		}
		return ""
	})
}

func TestUninstallingWithoutKeepLeavesNothing(t *testing.T) {
	here, before := fresh(t)
	release(t, "install", "charts/cronmill", "--set", "crds.keep=false")
	here.established(t)
	must(t, "kubectl", "apply", "--kustomize", "deploy/gitops/shop")
	uninstall(t)
	want := []string{"Namespace /cronmill-system", "Namespace /shop"}
	until(t, "what is left", func() string {
		if got := added(before, here.inventory(t)); !reflect.DeepEqual(got, want) {
			return strings.Join(got, "\n")
		}
		return ""
	})
}

func TestAnUpgradeBringsNewFieldsAndKeepsPasswordAndLeader(t *testing.T) {
	here, _ := fresh(t)
	ctx := context.Background()
	release(t, "install", "charts/cronmill", "--values", trial)
	here.established(t)
	here.namespace(t, "shop")
	queues := here.Resource(taskQueues).Namespace("shop")
	note := func(name string) (string, bool) {
		t.Helper()
		made, err := queues.Create(ctx, taskQueue(name, map[string]any{"noteOfTomorrow": "kept"}), v1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text, there, _ := unstructured.NestedString(made.Object, "spec", "noteOfTomorrow")
		return text, there
	}
	if text, there := note("before"); there {
		t.Fatalf("the field is there already: %s", text)
	}
	lease, err := here.Resource(leases).Namespace("cronmill-system").Get(ctx, "cronmill-operator", v1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lease.Object["spec"] = map[string]any{"holderIdentity": "a", "leaseTransitions": int64(7)}
	if _, err := here.Resource(leases).Namespace("cronmill-system").Update(ctx, lease, v1.UpdateOptions{FieldManager: "cronmill"}); err != nil {
		t.Fatal(err)
	}
	password := here.secret(t, "cronmill-redis")

	release(t, "upgrade", withNewField(t), "--values", trial, "--set", "replicas=3")

	until(t, "the new field", func() string {
		name := "after-" + strings.ToLower(strings.ReplaceAll(v1.Now().Format("150405.000"), ".", "-"))
		if text, _ := note(name); text != "kept" {
			return "it is pruned"
		}
		return ""
	})
	lease, err = here.Resource(leases).Namespace("cronmill-system").Get(ctx, "cronmill-operator", v1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder, _, _ := unstructured.NestedString(lease.Object, "spec", "holderIdentity"); holder != "a" {
		t.Errorf("the Lease is held by %q now", holder)
	}
	if now := here.secret(t, "cronmill-redis"); now == "" || now != password {
		t.Errorf("the password changed from %q to %q", password, now)
	}
}

// secret is all that a Secret of the release holds.
func (c *cluster) secret(t *testing.T, name string) string {
	t.Helper()
	found, err := c.Resource(secrets).Namespace("cronmill-system").Get(context.Background(), name, v1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, _, _ := unstructured.NestedStringMap(found.Object, "data")
	text, err := yaml.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withNewField is a copy of the chart in which a TaskQueue has one field more.
func withNewField(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "cronmill")
	if out, err := exec.Command("cp", "-rL", filepath.Join(root(), "charts/cronmill"), folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path := filepath.Join(folder, "charts/cronmill-crds/files/taskqueues.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var definition map[string]any
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(definition, "spec", "versions")
	field := []string{"schema", "openAPIV3Schema", "properties", "spec", "properties", "noteOfTomorrow"}
	if err := unstructured.SetNestedMap(versions[0].(map[string]any), map[string]any{"type": "string"}, field...); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(definition, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if text, err = yaml.Marshal(definition); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestWhatTheChartSaysToDoWorks(t *testing.T) {
	here, _ := fresh(t)
	for _, arguments := range [][]string{nil, {"--values", trial}} {
		verb := "install"
		if arguments != nil {
			verb = "upgrade"
		}
		notes := release(t, verb, "charts/cronmill", arguments...)
		here.established(t)
		_, rest, begins := strings.Cut(notes, "<<'END'\n")
		indented, _, ends := strings.Cut(rest, "\n  END\n")
		if !begins || !ends {
			t.Fatalf("no first schedule in\n%s", notes)
		}
		path := filepath.Join(t.TempDir(), "first.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll("\n"+indented, "\n  ", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		out := must(t, "kubectl", "apply", "--namespace", "default", "--dry-run=server", "--validate=strict", "--filename", path)
		for _, made := range []string{"taskqueue.cronmill.dev/first", "crontask.cronmill.dev/hello"} {
			if !strings.Contains(out, made) {
				t.Errorf("no %s in %s", made, out)
			}
		}
		for _, command := range []string{"rollout status deployment/cronmill", "get crontasks,taskqueues,deployments"} {
			if !strings.Contains(notes, command) {
				t.Errorf("no %s in\n%s", command, notes)
			}
		}
	}
}

func TestEverySampleIsAccepted(t *testing.T) {
	here, _ := fresh(t)
	release(t, "install", "charts/cronmill")
	here.established(t)
	said := must(t, "kubectl", "apply", "--namespace", "default", "--dry-run=server", "--validate=strict", "--recursive", "--filename", "deploy/samples")
	for _, one := range []string{"taskqueue.cronmill.dev/hello", "taskqueue.cronmill.dev/shop", "deployment.apps/shop"} {
		if !strings.Contains(said, one) {
			t.Errorf("no %s in\n%s", one, said)
		}
	}
	must(t, "kubectl", "apply", "--validate=strict", "--kustomize", "deploy/gitops/shop")
}

func TestInstallYamlInstallsOnceAndCanBeTakenBackWithoutTheObjects(t *testing.T) {
	here, before := fresh(t)
	apply := func() { must(t, "kubectl", "apply", "--server-side", "--filename", "deploy/install.yaml") }
	apply()
	here.established(t)
	versions := func() string {
		return must(t, "kubectl", "get", "--filename", "deploy/install.yaml", "--output", "custom-columns=K:.kind,N:.metadata.name,G:.metadata.generation,U:.metadata.uid")
	}
	once := versions()
	apply()
	if twice := versions(); twice != once {
		t.Errorf("the second time something changed:\n%s\n%s", once, twice)
	}
	must(t, "kubectl", "delete", "--filename", "deploy/install.yaml", "--selector", "app.kubernetes.io/component=operator")
	want := []string{
		"APIService /v1alpha1.cronmill.dev", "CustomResourceDefinition /crontasks.cronmill.dev",
		"CustomResourceDefinition /taskqueues.cronmill.dev", "Namespace /cronmill-system",
	}
	until(t, "what is left", func() string {
		if got := added(before, here.inventory(t)); !reflect.DeepEqual(got, want) {
			return strings.Join(got, "\n")
		}
		return ""
	})
}
