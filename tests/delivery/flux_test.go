package delivery

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// flux applies objects as Flux's kustomize-controller does, and says what it did to each.
func (c *cluster) flux(t *testing.T, objects []*unstructured.Unstructured) map[string]ssa.Action {
	t.Helper()
	httpClient, err := rest.HTTPClientFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(c.config, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(c.config, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	poller := polling.NewStatusPoller(api, mapper, polling.Options{})
	manager := ssa.NewResourceManager(api, poller, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	manager.SetOwnerLabels(objects, "shop", "flux-system")
	changes, err := manager.ApplyAllStaged(context.Background(), objects, ssa.DefaultApplyOptions())
	if err != nil {
		t.Fatal(err)
	}
	actions := map[string]ssa.Action{}
	for _, entry := range changes.Entries {
		actions[entry.Subject] = entry.Action
	}
	return actions
}

func TestFluxFindsNothingToChangeAfterTheQueueWasScaled(t *testing.T) {
	here, _ := fresh(t)
	release(t, "install", "charts/cronmill")
	here.established(t)
	for subject, action := range here.flux(t, shop(t)) {
		if action != ssa.CreatedAction {
			t.Errorf("first, %s is %s", subject, action)
		}
	}
	here.scale(t, "shop", "shop", 7)
	actions := here.flux(t, shop(t))
	for subject, action := range actions {
		if action != ssa.UnchangedAction {
			t.Errorf("then, %s is %s", subject, action)
		}
	}
	if len(actions) != len(shop(t)) {
		t.Errorf("%v", actions)
	}
	queue, err := here.Resource(taskQueues).Namespace("shop").Get(context.Background(), "shop", v1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(queue.Object, "spec", "workers", "replicas"); replicas != 7 {
		t.Errorf("%d replicas are left of 7", replicas)
	}
}

// scale sets the number of workers as somebody else than Git does.
func (c *cluster) scale(t *testing.T, namespace, name string, replicas int) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"workers": map[string]any{"replicas": replicas}}})
	if err != nil {
		t.Fatal(err)
	}
	by := v1.PatchOptions{FieldManager: "an-autoscaler"}
	if _, err := c.Resource(taskQueues).Namespace(namespace).Patch(context.Background(), name, types.MergePatchType, patch, by); err != nil {
		t.Fatal(err)
	}
	if c.defines(t, "taskqueues.cronmill.dev", "subresources", "scale") {
		must(t, "kubectl", "scale", "taskqueue", name, "--namespace", namespace, "--replicas", "3")
		must(t, "kubectl", "scale", "taskqueue", name, "--namespace", namespace, "--replicas", "7")
	}
}

func TestFluxPutsBackWhatGitSays(t *testing.T) {
	here, _ := fresh(t)
	release(t, "install", "charts/cronmill")
	here.established(t)
	here.flux(t, shop(t))
	patch := []byte(`{"spec":{"timeZone":"UTC"}}`)
	by := v1.PatchOptions{FieldManager: "somebody"}
	if _, err := here.Resource(cronTasks).Namespace("shop").Patch(context.Background(), "update-user-earn", types.MergePatchType, patch, by); err != nil {
		t.Fatal(err)
	}
	for subject, action := range here.flux(t, shop(t)) {
		want := ssa.UnchangedAction
		if subject == "CronTask/shop/update-user-earn" {
			want = ssa.ConfiguredAction
		}
		if action != want {
			t.Errorf("%s is %s", subject, action)
		}
	}
}
