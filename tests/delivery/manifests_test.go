package delivery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomize "github.com/fluxcd/kustomize-controller/api/v1"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// documents are the objects in a file of the repository.
func documents(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), path))
	if err != nil {
		t.Fatal(err)
	}
	return split(t, string(text))
}

func split(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		one := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &one.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(one.Object) > 0 {
			found = append(found, one)
		}
	}
	return found
}

// shop are the objects that Flux and Argo CD make of deploy/gitops/shop.
func shop(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root(), "deploy/gitops/shop"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return split(t, string(text))
}

func TestFluxReadsEachField(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{source.AddToScheme, helm.AddToScheme, kustomize.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	for _, path := range []string{"deploy/gitops/flux/cronmill.yaml", "deploy/gitops/flux/shop.yaml"} {
		for _, each := range documents(t, path) {
			count++
			typed, err := scheme.New(each.GroupVersionKind())
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			text, err := yaml.Marshal(each.Object)
			if err == nil {
				err = yaml.UnmarshalStrict(text, typed)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", path, each.GetKind(), err)
			}
		}
	}
	if count != 3 {
		t.Errorf("%d objects", count)
	}
}

func TestWhatGitopsPointsToIsThere(t *testing.T) {
	paths := []string{}
	for _, file := range []string{"argocd/applications.yaml", "flux/cronmill.yaml", "flux/shop.yaml"} {
		for _, each := range documents(t, filepath.Join("deploy/gitops", file)) {
			for _, at := range [][]string{{"spec", "source", "path"}, {"spec", "path"}, {"spec", "chart", "spec", "chart"}} {
				if path, there, _ := unstructured.NestedString(each.Object, at...); there {
					paths = append(paths, path)
				}
			}
		}
	}
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join(root(), path)); err != nil {
			t.Error(err)
		}
	}
	if len(paths) != 4 {
		t.Errorf("%v", paths)
	}
}

func TestValuesInGitopsAreTakenByTheChart(t *testing.T) {
	count := 0
	for _, file := range []string{"argocd/applications.yaml", "flux/cronmill.yaml"} {
		for _, each := range documents(t, filepath.Join("deploy/gitops", file)) {
			for _, at := range [][]string{{"spec", "source", "helm", "valuesObject"}, {"spec", "values"}} {
				values, there, _ := unstructured.NestedMap(each.Object, at...)
				if !there {
					continue
				}
				count++
				text, err := yaml.Marshal(values)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "values.yaml")
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := run("helm", "template", "cronmill", "charts/cronmill", "--values", path); err != nil {
					t.Errorf("%s: %v", file, err)
				} else if strings.Contains(out, "password:") {
					t.Errorf("%s: each rendering makes a new password", file)
				}
			}
		}
	}
	if count != 2 {
		t.Errorf("%d sets of values", count)
	}
}

func TestTheNumberOfWorkersIsNotInGit(t *testing.T) {
	for _, each := range shop(t) {
		if _, there, _ := unstructured.NestedFieldNoCopy(each.Object, "spec", "workers", "replicas"); there {
			t.Errorf("%s sets replicas, which scaling would be undone by", each.GetName())
		}
	}
}
