{{/*
What the operator may do in the namespaces it watches, each rule with its reason. ARCHITECTURE.md has the same rules as
a table, and a test compares the two.
*/}}
{{- define "cronmill.rules" -}}
# Reads the objects people write, and follows their changes.
- apiGroups: [cronmill.dev]
  resources: [crontasks, taskqueues]
  verbs: [get, list, watch]
# Sets and removes the finalizer of a TaskQueue, which lets it clean up Redis first.
- apiGroups: [cronmill.dev]
  resources: [taskqueues]
  verbs: [patch]
# Reports: conditions, last and next times, counters.
- apiGroups: [cronmill.dev]
  resources: [crontasks/status, taskqueues/status]
  verbs: [patch]
# Reads the Redis URL that a TaskQueue names; writes the copy for its workers, and takes it away. By name: never list,
# never watch.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# Reads the payload that a CronTask takes from a ConfigMap, by its name.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# Keeps the Deployment of a TaskQueue's workers.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Has those workers leave nodes that are emptied one at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
# Scales workers: those of a TaskQueue, and the workload that one names in targetRef, of which it may do nothing else.
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get, patch]
# Sees why a worker cannot start, while one is to become ready; and, as leader, that the container of one has ended and of
# what, so that the tasks it held come back at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Marks workers that hold nothing as the ones to go (controller.kubernetes.io/pod-deletion-cost), when there are to be
# fewer, and takes the mark away.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
# Tells people what happened to an object, once per transition.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Asks which cluster this is (the uid of kube-system), and whether a namespace is about to go: nothing is drained there.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/* What it may do in its own namespace. */}}
{{- define "cronmill.ownRules" -}}
# Elects the leader among the replicas. A request to create cannot be bound to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [cronmill-operator]
  verbs: [get, update]
# Notes what is left to do in a Redis that was away when its TaskQueue was deleted. It has the URL, so it is a Secret.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [cronmill-unfinished]
  verbs: [get, patch]
{{- end -}}
{{/*
What the Job before an uninstall may do in the namespaces that the operator watches, and in the operator's own. Where
the chart makes no roles or no account it runs as the operator, which may do all of that too.
*/}}
{{- define "cronmill.retireRules" -}}
# Finds the TaskQueues that the operator holds, a page at a time, and looks again at one that changed meanwhile.
- apiGroups: [cronmill.dev]
  resources: [taskqueues]
  verbs: [get, list]
# Takes the finalizer off.
- apiGroups: [cronmill.dev]
  resources: [taskqueues]
  verbs: [patch]
{{- end -}}

{{- define "cronmill.retireOwnRules" -}}
# Takes the Lease, so that no replica puts the finalizer on again.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [cronmill-operator]
  verbs: [get, update]
{{- end -}}
