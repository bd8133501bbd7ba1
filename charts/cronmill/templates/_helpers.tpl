{{- define "cronmill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that what is put behind it stays within a label's 63. */}}
{{- define "cronmill.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "cronmill.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is not of one namespace carries the release's namespace in its name: two releases may share a name. */}}
{{- define "cronmill.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "cronmill.fullname" .) -}}
{{- end -}}

{{- define "cronmill.selector" -}}
app.kubernetes.io/name: {{ include "cronmill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "cronmill.redisSelector" -}}
app.kubernetes.io/name: {{ include "cronmill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
{{- end -}}

{{- define "cronmill.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cronmill
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "cronmill.labels" -}}
{{ include "cronmill.selector" . }}
{{ include "cronmill.chartLabels" . }}
{{- end -}}

{{- define "cronmill.redisLabels" -}}
{{ include "cronmill.redisSelector" . }}
{{ include "cronmill.chartLabels" . }}
{{- end -}}

{{/* The Job before an uninstall. Nothing that selects the operator or Redis selects it. */}}
{{- define "cronmill.retireLabels" -}}
app.kubernetes.io/name: {{ include "cronmill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: retire
{{ include "cronmill.chartLabels" . }}
{{- end -}}

{{/* What it runs as comes before it and goes after it, however it ended. */}}
{{- define "cronmill.retireRights" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: "-1"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}

{{- define "cronmill.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cronmill.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cronmill.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret that has the URL of the shared Redis, and its key; empty when there is no shared Redis. */}}
{{- define "cronmill.sharedRedisSecret" -}}
{{- if .Values.redis.bundled.enabled -}}
{{ include "cronmill.fullname" . }}-redis
{{- else -}}
{{ .Values.redis.existingSecret.name }}
{{- end -}}
{{- end -}}

{{- define "cronmill.sharedRedisKey" -}}
{{- if .Values.redis.bundled.enabled -}}
url
{{- else -}}
{{ .Values.redis.existingSecret.key }}
{{- end -}}
{{- end -}}

{{/*
The password of the bundled Redis: the one that is in use, else a new one. Kept among the values while a release is
rendered, so that all who ask get the same.
*/}}
{{- define "cronmill.redisPassword" -}}
{{- $bundled := .Values.redis.bundled -}}
{{- if not (hasKey $bundled "password") -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (printf "%s-redis" (include "cronmill.fullname" .)) -}}
{{- $old := dig "data" "password" "" (default dict $secret) -}}
{{- $_ := set $bundled "password" (ternary ($old | b64dec) (randAlphaNum 32) (ne $old "")) -}}
{{- end -}}
{{- $bundled.password -}}
{{- end -}}

{{/* Refuses values that contradict each other, with what to set instead. */}}
{{- define "cronmill.check" -}}
{{- $redis := .Values.redis -}}
{{- $shared := include "cronmill.sharedRedisSecret" . -}}
{{- if and $redis.bundled.enabled $redis.existingSecret.name -}}
{{- fail "\n\nredis.bundled.enabled and redis.existingSecret.name are both set, and there is one shared Redis: leave one of them out" -}}
{{- end -}}
{{- if and $redis.sharedNamespaces (not $shared) -}}
{{- fail "\n\nredis.sharedNamespaces lists who may use the shared Redis, but there is none: set redis.existingSecret.name, or redis.bundled.enabled to try things out" -}}
{{- end -}}
{{- if and $shared (not $redis.sharedNamespaces) -}}
{{- fail "\n\nthere is a shared Redis that nobody may use: list namespaces in redis.sharedNamespaces, as in --set 'redis.sharedNamespaces={default}'" -}}
{{- end -}}
{{- if .Values.watchNamespaces -}}
{{- if not .Values.clusterId -}}
{{- fail "\n\nwatchNamespaces is set, so the operator may not ask for the uid of the namespace kube-system: say in clusterId what this cluster is called, the same for all operators in it" -}}
{{- end -}}
{{- range $redis.sharedNamespaces -}}
{{- if not (has . $.Values.watchNamespaces) -}}
{{- fail (printf "\n\nredis.sharedNamespaces has %s, which the operator does not watch: add it to watchNamespaces too" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "\n\nserviceAccount.create is false: name the account to run as in serviceAccount.name" -}}
{{- end -}}
{{- end -}}
