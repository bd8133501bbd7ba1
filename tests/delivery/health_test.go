package delivery

import (
	"reflect"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// situation is what the operator may report of an object, and what tools are to make of it.
type situation struct {
	name string
	// Conditions as type and status; the message of each is its type.
	conditions [][2]string
	// The generation they are about; the object's is 2.
	observed int64
	spec     map[string]any
	deleting bool
	kstatus  status.Status
	argo     string
	message  string
}

var ready, unready = [2]string{"Ready", "True"}, [2]string{"Ready", "False"}

var situations = []situation{
	{"in force", [][2]string{ready}, 2, nil, false, status.CurrentStatus, "Healthy", "Ready"},
	{"edited, not seen yet", [][2]string{ready}, 1, nil, false, status.InProgressStatus, "Progressing", "the operator has not seen this version yet"},
	{"new, not seen yet", nil, -1, nil, false, status.InProgressStatus, "Progressing", "the operator has not seen this version yet"},
	{"on its way", [][2]string{unready, {"Reconciling", "True"}}, 2, nil, false, status.InProgressStatus, "Progressing", "Reconciling"},
	{"in force, and on its way again", [][2]string{ready, {"Reconciling", "True"}}, 2, nil, false, status.InProgressStatus, "Progressing", "Reconciling"},
	{"wrong", [][2]string{unready, {"Stalled", "True"}}, 2, nil, false, status.FailedStatus, "Degraded", "Stalled"},
	{"was wrong", [][2]string{ready, {"Stalled", "False"}}, 2, nil, false, status.CurrentStatus, "Healthy", "Ready"},
	{"Redis is away", [][2]string{unready}, 2, nil, false, status.InProgressStatus, "Progressing", "Ready"},
	{"unknown", [][2]string{{"Ready", "Unknown"}}, 2, nil, false, status.InProgressStatus, "Progressing", "Ready"},
	{"a run failed", [][2]string{ready, {"LastRunSucceeded", "False"}}, 2, nil, false, status.CurrentStatus, "Healthy", "Ready"},
	{"Redis is away for a moment", [][2]string{ready, {"RedisReachable", "False"}}, 2, nil, false, status.CurrentStatus, "Healthy", "Ready"},
	{"going", [][2]string{ready}, 2, nil, true, status.TerminatingStatus, "Progressing", "is being deleted"},
}

// report is the status of a situation, as the operator writes it.
func (s situation) report() map[string]any {
	conditions := []any{}
	for _, one := range s.conditions {
		conditions = append(conditions, map[string]any{
			"type": one[0], "status": one[1], "reason": one[0], "message": one[0],
			"observedGeneration": s.observed, "lastTransitionTime": "2026-11-23T16:40:20Z",
		})
	}
	return map[string]any{"observedGeneration": s.observed, "conditions": conditions}
}

func (s situation) object(kind string) map[string]any {
	metadata := map[string]any{"name": "x", "namespace": "shop", "generation": int64(2)}
	if s.deleting {
		metadata["deletionTimestamp"] = "2026-11-23T16:40:20Z"
	}
	spec := s.spec
	if spec == nil {
		spec = map[string]any{}
	}
	return map[string]any{
		"apiVersion": "cronmill.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": s.report(),
	}
}

// agree fails unless kstatus and the script for Argo CD say of an object what the situation expects.
func agree(t *testing.T, s situation, object map[string]any) {
	t.Helper()
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != s.kstatus {
		t.Errorf("%s %s: kstatus says %s (%s), not %s", object["kind"], s.name, result.Status, result.Message, s.kstatus)
	}
	if got, message := health(t, object); got != s.argo || message != s.message {
		t.Errorf("%s %s: Argo CD says %s (%s), not %s (%s)", object["kind"], s.name, got, message, s.argo, s.message)
	}
}

func TestHealthIsTheSameForFluxAndArgo(t *testing.T) {
	for _, kind := range []string{"CronTask", "TaskQueue"} {
		for _, s := range situations {
			agree(t, s, s.object(kind))
		}
	}
}

func TestWhatStandsStillOnPurposeIsHealthyAndSaysSo(t *testing.T) {
	suspended := situations[0]
	suspended.spec = map[string]any{"suspend": true}
	suspended.message = "is suspended: nothing is enqueued until it is resumed"
	agree(t, suspended, suspended.object("CronTask"))

	paused := situations[0]
	paused.spec = queues("critical", "", "default", "migration", "low", "migration")
	paused.message = "paused: default, low"
	agree(t, paused, paused.object("TaskQueue"))
}

func TestAnObjectThatTheOperatorNeverSawIsNotHealthy(t *testing.T) {
	for _, kind := range []string{"CronTask", "TaskQueue"} {
		object := situations[0].object(kind)
		delete(object, "status")
		if got, _ := health(t, object); got != "Progressing" {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// queues is a spec with queues by name, each paused for a reason or not at all.
func queues(pairs ...string) map[string]any {
	list := []any{}
	for at := 0; at < len(pairs); at += 2 {
		queue := map[string]any{"name": pairs[at], "weight": int64(1)}
		if pairs[at+1] != "" {
			queue["paused"] = map[string]any{"reason": pairs[at+1]}
		}
		list = append(list, queue)
	}
	return map[string]any{"queues": list}
}

// act runs an action on an object's spec and returns the spec it leaves.
func act(t *testing.T, kind, action string, spec map[string]any) map[string]any {
	t.Helper()
	object := situations[0].object(kind)
	object["spec"] = runtime.DeepCopyJSON(spec)
	for _, one := range actionsOf(t, kind).Definitions {
		if one.Name == action {
			changed := execute(t, one.Script, object).(map[string]any)
			return changed["spec"].(map[string]any)
		}
	}
	t.Fatalf("%s has no action %s", kind, action)
	return nil
}

// offered are the actions that make sense for an object with this spec.
func offered(t *testing.T, kind string, spec map[string]any) map[string]bool {
	t.Helper()
	object := situations[0].object(kind)
	object["spec"] = spec
	names := map[string]bool{}
	for name, about := range execute(t, actionsOf(t, kind).Discovery, object).(map[string]any) {
		names[name] = about.(map[string]any)["disabled"] == false
	}
	return names
}

func TestActionsChangeWhatTheySayAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		kind, action string
		before, then map[string]any
	}{
		{"CronTask", "suspend", map[string]any{"schedule": "@daily"}, map[string]any{"schedule": "@daily", "suspend": true}},
		{"CronTask", "resume", map[string]any{"suspend": true}, map[string]any{"suspend": false}},
		{"TaskQueue", "pause", queues("a", "", "b", "migration"), queues("a", "paused in Argo CD", "b", "migration")},
		{"TaskQueue", "resume", queues("a", "", "b", "migration"), queues("a", "", "b", "")},
	} {
		if got := act(t, c.kind, c.action, c.before); !reflect.DeepEqual(got, c.then) {
			t.Errorf("%s of %v is %v, not %v", c.action, c.before, got, c.then)
		}
	}
}

func TestActionsAreOfferedWhereTheyChangeSomething(t *testing.T) {
	for _, c := range []struct {
		kind          string
		spec          map[string]any
		first, second bool
	}{
		{"CronTask", map[string]any{}, true, false},
		{"CronTask", map[string]any{"suspend": false}, true, false},
		{"CronTask", map[string]any{"suspend": true}, false, true},
		{"TaskQueue", queues("a", "", "b", ""), true, false},
		{"TaskQueue", queues("a", "", "b", "x"), true, true},
		{"TaskQueue", queues("a", "x", "b", "x"), false, true},
	} {
		first := map[string]string{"CronTask": "suspend", "TaskQueue": "pause"}[c.kind]
		if got := offered(t, c.kind, c.spec); !reflect.DeepEqual(got, map[string]bool{first: c.first, "resume": c.second}) {
			t.Errorf("%s %v: %v", c.kind, c.spec, got)
		}
	}
}
