package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authorization "k8s.io/api/authorization/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// access is one question as `kubectl auth can-i` asks it, and where the answer is yes.
type access struct {
	verb, group, resource, subresource, name string
	// In a namespace that is watched, in the operator's own, in another one, and everywhere.
	watched, own, other, everywhere bool
}

const yes, no = true, false

// When everything is watched, then when only some namespaces are.
var questions = []struct {
	access
	whenSome access
}{
	{access{"list", "", "secrets", "", "", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"watch", "", "secrets", "", "", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"get", "", "secrets", "", "redis", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"patch", "", "secrets", "", "cronmill-unfinished", yes, yes, yes, yes}, access{"", "", "", "", "", yes, yes, no, no}},
	{access{"list", "cronmill.dev", "crontasks", "", "", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"update", "cronmill.dev", "crontasks", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"patch", "cronmill.dev", "crontasks", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"patch", "cronmill.dev", "crontasks", "status", "x", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"patch", "cronmill.dev", "taskqueues", "", "x", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"delete", "cronmill.dev", "taskqueues", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"create", "apps", "deployments", "", "", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"patch", "apps", "deployments", "scale", "x", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"patch", "apps", "statefulsets", "scale", "x", yes, yes, yes, yes}, access{"", "", "", "", "", yes, no, no, no}},
	{access{"get", "apps", "statefulsets", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"patch", "apps", "statefulsets", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"create", "", "pods", "", "", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"create", "", "pods", "exec", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"update", "coordination.k8s.io", "leases", "", "cronmill-operator", no, yes, no, no}, access{"", "", "", "", "", no, yes, no, no}},
	{access{"update", "coordination.k8s.io", "leases", "", "another", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"escalate", "rbac.authorization.k8s.io", "clusterroles", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
	{access{"impersonate", "", "users", "", "x", no, no, no, no}, access{"", "", "", "", "", no, no, no, no}},
}

func TestTheOperatorMayWhatItNeedsAndNoMore(t *testing.T) {
	here, _ := fresh(t)
	for _, name := range []string{"shop", "billing"} {
		here.namespace(t, name)
	}
	release(t, "install", "charts/cronmill")
	for _, question := range questions {
		here.check(t, question.access, question.access)
	}
	release(t, "upgrade", "charts/cronmill", "--set", "watchNamespaces={shop}", "--set", "clusterId=east")
	for _, question := range questions {
		here.check(t, question.access, question.whenSome)
	}
	// A namespace is asked about in itself.
	here.ask(t, access{verb: "get", resource: "namespaces", name: "shop"}, "shop", yes)
	here.ask(t, access{verb: "get", resource: "namespaces", name: "billing"}, "billing", no)
}

func (c *cluster) check(t *testing.T, about, expected access) {
	t.Helper()
	c.ask(t, about, "shop", expected.watched)
	c.ask(t, about, "cronmill-system", expected.own)
	c.ask(t, about, "billing", expected.other)
	c.ask(t, about, "", expected.everywhere)
}

// ask fails unless the operator's account is answered so; what was just granted or taken may take a moment.
func (c *cluster) ask(t *testing.T, about access, namespace string, want bool) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(c.config)
	until(t, fmt.Sprintf("may %s %s.%s/%s %s in %q: %v", about.verb, about.resource, about.group, about.subresource, about.name, namespace, want), func() string {
		review := &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:cronmill-system:cronmill",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:cronmill-system", "system:authenticated"},
			ResourceAttributes: &authorization.ResourceAttributes{
				Namespace: namespace, Verb: about.verb, Group: about.group, Resource: about.resource, Subresource: about.subresource, Name: about.name,
			},
		}}
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), review, v1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		if answer.Status.Allowed != want {
			return answer.Status.Reason
		}
		return ""
	})
}

// as is a client of somebody who may make TaskQueues in a namespace, and what else is granted.
func (c *cluster) as(t *testing.T, user, namespace string, more ...rbac.PolicyRule) dynamic.Interface {
	t.Helper()
	client, ctx := kubernetes.NewForConfigOrDie(c.config), context.Background()
	rules := append(more, rbac.PolicyRule{APIGroups: []string{"cronmill.dev"}, Resources: []string{"taskqueues", "crontasks"}, Verbs: []string{"*"}})
	role := &rbac.Role{ObjectMeta: v1.ObjectMeta{Name: user}, Rules: rules}
	if _, err := client.RbacV1().Roles(namespace).Create(ctx, role, v1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbac.RoleBinding{
		ObjectMeta: v1.ObjectMeta{Name: user},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: "User", Name: user}},
	}
	if _, err := client.RbacV1().RoleBindings(namespace).Create(ctx, binding, v1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return dynamic.NewForConfigOrDie(config)
}

func TestTheAdmissionPolicyRefusesWhatNothingWouldComeOf(t *testing.T) {
	here, _ := fresh(t)
	for _, name := range []string{"shop", "billing"} {
		here.namespace(t, name)
	}
	release(t, "install", "charts/cronmill", "--set", "admissionPolicy.enabled=true", "--set", "watchNamespaces={shop,billing}",
		"--set", "clusterId=east", "--set", "redis.existingSecret.name=redis", "--set", "redis.sharedNamespaces={shop}")
	here.established(t)
	ctx := context.Background()
	dry := v1.CreateOptions{DryRun: []string{v1.DryRunAll}}
	refused := func(client dynamic.Interface, namespace string, object *unstructured.Unstructured, why string) {
		t.Helper()
		until(t, "refused for "+why, func() string {
			_, err := client.Resource(taskQueues).Namespace(namespace).Create(ctx, object, dry)
			if err == nil || !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), why) {
				return fmt.Sprint(err)
			}
			return ""
		})
	}
	accepted := func(client dynamic.Interface, namespace string, object *unstructured.Unstructured) {
		t.Helper()
		until(t, "accepted", func() string {
			if _, err := client.Resource(taskQueues).Namespace(namespace).Create(ctx, object, dry); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	template := func() map[string]any {
		pod := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "worker", "image": "x"}}}}
		return map[string]any{"workers": map[string]any{"template": pod}}
	}
	refused(here, "default", taskQueue("a", map[string]any{}), "namespace default is not watched by cronmill")
	refused(here, "billing", taskQueue("a", map[string]any{}), "namespace billing has no shared Redis")
	accepted(here, "shop", taskQueue("a", map[string]any{}))
	own := map[string]any{"secretRef": map[string]any{"name": "redis"}}
	accepted(here, "billing", taskQueue("a", map[string]any{"redis": own}))

	ann := here.as(t, "ann", "shop")
	accepted(ann, "shop", taskQueue("a", map[string]any{}))
	refused(ann, "shop", taskQueue("a", template()), "for those who may create Deployments in this namespace")
	ben := here.as(t, "ben", "shop", rbac.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"create"}})
	accepted(ben, "shop", taskQueue("a", template()))

	target := func(kind string) map[string]any {
		return map[string]any{"workers": map[string]any{"targetRef": map[string]any{"kind": kind, "name": "go"}}}
	}
	refused(ben, "shop", taskQueue("a", target("Deployment")), "for those who may patch the scale of that workload")
	eve := here.as(t, "eve", "shop", rbac.PolicyRule{
		APIGroups: []string{"apps"}, Resources: []string{"statefulsets/scale"}, ResourceNames: []string{"go"}, Verbs: []string{"patch"},
	})
	accepted(eve, "shop", taskQueue("a", target("StatefulSet")))
	refused(eve, "shop", taskQueue("a", target("Deployment")), "for those who may patch the scale of that workload")

	// What is there already may be labelled by anybody: nothing new is asked for.
	if _, err := ben.Resource(taskQueues).Namespace("shop").Create(ctx, taskQueue("b", template()), v1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	label := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	if _, err := ann.Resource(taskQueues).Namespace("shop").Patch(ctx, "b", "application/merge-patch+json", label, v1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}
