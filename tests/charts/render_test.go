package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policies "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// object is one document of what a chart renders.
type object struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	text            string
}

func (o object) String() string { return fmt.Sprintf("%s %s", o.Kind, o.Name) }

// objects splits what was rendered.
func objects(t *testing.T, rendered string) []object {
	t.Helper()
	var found []object
	for _, text := range strings.Split("\n"+rendered, "\n---\n") {
		one := object{text: text}
		if err := yaml.Unmarshal([]byte(text), &one); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if one.Kind != "" {
			found = append(found, one)
		}
	}
	return found
}

// valueFiles are the sets of values that tests render with; the empty name stands for the default.
func valueFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("values/*.yaml")
	if err != nil || len(paths) < 3 {
		t.Fatalf("%v %v", paths, err)
	}
	names := []string{""}
	for _, path := range paths {
		names = append(names, filepath.Join("tests/charts", path))
	}
	return names
}

func with(values string) []string {
	if values == "" {
		return nil
	}
	return []string{"--values", values}
}

// rendered renders the chart cronmill or fails the test.
func rendered(t *testing.T, arguments ...string) []object {
	t.Helper()
	text, err := template(chart, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}

// one is the only object of a kind.
func one(t *testing.T, among []object, kind string) object {
	t.Helper()
	var found []object
	for _, each := range among {
		if each.Kind == kind {
			found = append(found, each)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d of kind %s among %v", len(found), kind, among)
	}
	return found[0]
}

// into reads an object strictly: a field that its type does not have is an error.
func into[T any](t *testing.T, from object) T {
	t.Helper()
	var typed T
	if err := yaml.UnmarshalStrict([]byte(from.text), &typed); err != nil {
		t.Fatalf("%s: %v\n%s", from, err, from.text)
	}
	return typed
}

func kinds(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admission.AddToScheme, apps.AddToScheme, batch.AddToScheme, coordination.AddToScheme, core.AddToScheme,
		networking.AddToScheme, policies.AddToScheme, rbac.AddToScheme, extensions.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func TestChartsPassHelmLint(t *testing.T) {
	for _, values := range valueFiles(t) {
		if _, err := run("helm", append([]string{"lint", "--strict", chart}, with(values)...)...); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
	if _, err := run("helm", "lint", "--strict", crdsChart); err != nil {
		t.Error(err)
	}
}

func TestEveryRenderedObjectHasOnlyFieldsOfItsKind(t *testing.T) {
	scheme, others := kinds(t), map[string]bool{"ServiceMonitor": true, "PrometheusRule": true}
	for _, values := range valueFiles(t) {
		seen := map[string]bool{}
		for _, each := range rendered(t, with(values)...) {
			if name := each.Kind + "/" + each.Namespace + "/" + each.Name; seen[name] {
				t.Errorf("%s: %s is there twice", values, name)
			} else {
				seen[name] = true
			}
			if others[each.Kind] {
				continue
			}
			typed, err := scheme.New(each.GroupVersionKind())
			if err != nil {
				t.Errorf("%s: %s: %v", values, each, err)
				continue
			}
			if err := yaml.UnmarshalStrict([]byte(each.text), typed); err != nil {
				t.Errorf("%s: %s: %v", values, each, err)
			}
		}
	}
}

func TestObjectsAreInTheReleasesNamespaceOrOfTheCluster(t *testing.T) {
	ofCluster := map[string]bool{
		"ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true,
		"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true,
	}
	watched := map[string]bool{namespace: true, "shop": true, "billing": true, "team-a": true, "team-b": true}
	for _, values := range valueFiles(t) {
		for _, each := range rendered(t, with(values)...) {
			if ofCluster[each.Kind] != (each.Namespace == "") || each.Namespace != "" && !watched[each.Namespace] {
				t.Errorf("%s: %s is in namespace %q", values, each, each.Namespace)
			}
		}
	}
}

func TestPodsPassTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	count := 0
	for _, values := range valueFiles(t) {
		for _, each := range rendered(t, with(values)...) {
			var pod core.PodTemplateSpec
			switch each.Kind {
			case "Deployment":
				pod = into[apps.Deployment](t, each).Spec.Template
			case "StatefulSet":
				pod = into[apps.StatefulSet](t, each).Spec.Template
			case "Job":
				pod = into[batch.Job](t, each).Spec.Template
			default:
				continue
			}
			count++
			for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s (%s)", values, each, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	}
	if count < 11 {
		t.Errorf("only %d pods were looked at", count)
	}
}

func TestSelectorsFindThePods(t *testing.T) {
	for _, values := range valueFiles(t) {
		all := rendered(t, with(values)...)
		pods := map[string]map[string]string{}
		for _, each := range all {
			switch each.Kind {
			case "Deployment":
				deployment := into[apps.Deployment](t, each)
				pods["operator"] = deployment.Spec.Template.Labels
				matches(t, values, each, deployment.Spec.Selector.MatchLabels, pods["operator"])
			case "StatefulSet":
				set := into[apps.StatefulSet](t, each)
				pods["redis"] = set.Spec.Template.Labels
				matches(t, values, each, set.Spec.Selector.MatchLabels, pods["redis"])
			}
		}
		for _, each := range all {
			selector := map[string]string(nil)
			switch each.Kind {
			case "Service":
				selector = into[core.Service](t, each).Spec.Selector
			case "NetworkPolicy":
				selector = into[networking.NetworkPolicy](t, each).Spec.PodSelector.MatchLabels
			case "PodDisruptionBudget":
				selector = into[policies.PodDisruptionBudget](t, each).Spec.Selector.MatchLabels
			default:
				continue
			}
			matches(t, values, each, selector, pods[each.Labels["app.kubernetes.io/component"]])
		}
	}
}

// matches fails unless a selector is there and chooses these labels.
func matches(t *testing.T, values string, of object, selector, labels map[string]string) {
	t.Helper()
	if len(selector) == 0 {
		t.Errorf("%s: %s selects everything", values, of)
	}
	for key, want := range selector {
		if labels[key] != want {
			t.Errorf("%s: %s selects %s=%s, its pods have %q", values, of, key, want, labels[key])
		}
	}
}

func TestANewPasswordRestartsRedisAndOperator(t *testing.T) {
	all := rendered(t, "--values", "tests/charts/values/trial.yaml")
	secret := into[core.Secret](t, one(t, all, "Secret"))
	want := fmt.Sprintf("%x", sha256.Sum256([]byte(secret.StringData["password"])))[:16]
	for kind, pod := range map[string]core.PodTemplateSpec{
		"Deployment":  into[apps.Deployment](t, one(t, all, "Deployment")).Spec.Template,
		"StatefulSet": into[apps.StatefulSet](t, one(t, all, "StatefulSet")).Spec.Template,
	} {
		if got := pod.Annotations["cronmill.dev/redis-secret"]; got != want {
			t.Errorf("%s is marked %s, the password %s", kind, got, want)
		}
	}
}

func TestDefinitionsAreThoseOfTheRepository(t *testing.T) {
	for _, from := range []string{chart, crdsChart} {
		text, err := template(from)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, each := range objects(t, text) {
			if each.Kind != "CustomResourceDefinition" {
				continue
			}
			count++
			if each.Annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s: %s would go with the release", from, each)
			}
			plural, _, _ := strings.Cut(each.Name, ".")
			committed, err := os.ReadFile(filepath.Join(root(), "crds", plural+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := withoutMetadata(t, each.text), withoutMetadata(t, string(committed)); got != want {
				t.Errorf("%s: %s is not crds/%s.yaml:\n%s", from, each, plural, got)
			}
		}
		if there, _ := filepath.Glob(filepath.Join(root(), "crds", "*.yaml")); count != len(there) {
			t.Errorf("%s: %d of %d definitions", from, count, len(there))
		}
	}
}

// What Flux takes out of a Git repository: everything but links. It then puts together what Chart.yaml names.
func TestTheChartsAreWholeWithoutLinks(t *testing.T) {
	folder := t.TempDir()
	charts := filepath.Join(root(), "charts")
	err := filepath.WalkDir(charts, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(charts, path)
		switch to := filepath.Join(folder, name); {
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		case entry.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o644)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(folder, "cronmill")
	if _, err := run("helm", "dependency", "update", "--skip-refresh", copied); err != nil {
		t.Fatal(err)
	}
	want, err := template(chart)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := template(copied); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
}

// withoutMetadata is a document in one form, whatever its text looks like, without its metadata.
func withoutMetadata(t *testing.T, text string) string {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	delete(content, "metadata")
	plain, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestGeneratedFilesAreFresh(t *testing.T) {
	stale, err := compare(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stale {
		t.Errorf("%s is stale; run 'make generate' and commit the result", path)
	}
}
