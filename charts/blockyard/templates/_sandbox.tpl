{{/* What code of users runs in. */}}

{{- define "blockyard.sandboxNamespace" -}}
{{ .Values.sandbox.namespace | default .Release.Namespace }}
{{- end }}

{{/* Whose Jobs they are: releases of one name in two namespaces may share a third. */}}
{{- define "blockyard.sandboxLabel" -}}
{{ printf "%s.%s" .Release.Namespace (include "blockyard.fullname" .) | trunc 63 | trimSuffix "." | trimSuffix "-" }}
{{- end }}

{{- define "blockyard.sandboxMetadata" -}}
name: {{ include "blockyard.fullname" . }}-sandbox
namespace: {{ include "blockyard.sandboxNamespace" . }}
labels:
  {{- include "blockyard.labels" (list . "sandbox") | nindent 2 }}
{{- end }}

{{- define "blockyard.sandboxAccount" -}}
{{ .Values.sandbox.serviceAccount.name | default (printf "%s-sandbox" (include "blockyard.fullname" .)) }}
{{- end }}

{{/* The names of the pools that run code, each with its account. */}}
{{- define "blockyard.sandboxPools" -}}
{{- range .Values.runnerPools }}
{{- $component := include "blockyard.component" (list $ $.Values.runnerDefaults .) | fromYaml }}
{{- if $component.sandbox }}
{{ .name }}: {{ include "blockyard.serviceAccountName" (list $ (printf "runner-%s" .name) $component) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What runners of these pools are told. */}}
{{- define "blockyard.sandboxEnvironment" -}}
{{- $sandbox := .Values.sandbox -}}
{{- $image := mergeOverwrite (deepCopy .Values.images.runner) $sandbox.image -}}
BLOCKYARD_SANDBOX: kubernetes
BLOCKYARD_SANDBOXES: {{ $sandbox.atOnce | quote }}
BLOCKYARD_SANDBOX_NAMESPACE: {{ include "blockyard.sandboxNamespace" . }}
BLOCKYARD_SANDBOX_RELEASE: {{ include "blockyard.sandboxLabel" . }}
BLOCKYARD_SANDBOX_SERVICE_ACCOUNT: {{ include "blockyard.sandboxAccount" . }}
BLOCKYARD_SANDBOX_IMAGE: {{ include "blockyard.image" (list . $image) }}
BLOCKYARD_SANDBOX_PULL_POLICY: {{ $image.pullPolicy }}
BLOCKYARD_SANDBOX_WARM: {{ $sandbox.warm | quote }}
BLOCKYARD_SANDBOX_WARM_SECONDS: {{ $sandbox.warmSeconds | quote }}
BLOCKYARD_SANDBOX_START_SECONDS: {{ $sandbox.startSeconds | quote }}
BLOCKYARD_SANDBOX_CPU_REQUEST: {{ $sandbox.resources.requests.cpu | quote }}
BLOCKYARD_SANDBOX_CPU_LIMIT: {{ $sandbox.resources.limits.cpu | quote }}
BLOCKYARD_SANDBOX_MEMORY_REQUEST: {{ $sandbox.resources.requests.memory | quote }}
{{- with kindIs "invalid" $sandbox.imagePullSecrets | ternary .Values.imagePullSecrets $sandbox.imagePullSecrets }}
BLOCKYARD_SANDBOX_PULL_SECRETS: {{ toJson . | quote }}
{{- end }}
{{- with $sandbox.runtimeClassName }}
BLOCKYARD_SANDBOX_RUNTIME_CLASS: {{ . }}
{{- end }}
{{- with $sandbox.nodeSelector }}
BLOCKYARD_SANDBOX_NODE_SELECTOR: {{ toJson . | quote }}
{{- end }}
{{- with $sandbox.tolerations }}
BLOCKYARD_SANDBOX_TOLERATIONS: {{ toJson . | quote }}
{{- end }}
{{- with $sandbox.priorityClassName }}
BLOCKYARD_SANDBOX_PRIORITY_CLASS: {{ . }}
{{- end }}
{{- end }}
