{{/* Names, labels and images. */}}

{{- define "blockyard.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The prefix of all names; room is left for what follows it. */}}
{{- define "blockyard.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "blockyard.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "blockyard.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the pods of a component: (list $ "graph"). */}}
{{- define "blockyard.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "blockyard.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object of a component: (list $ "graph"). */}}
{{- define "blockyard.labels" -}}
{{- $root := index . 0 -}}
{{ include "blockyard.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: blockyard
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Name and labels as metadata: (list $ "graph"), or (list $ "runner-gpu" "runner") for another name than component. */}}
{{- define "blockyard.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "blockyard.fullname" $root }}-{{ index . 1 }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "blockyard.labels" (list $root (index . 1)) | nindent 2 }}
{{- end }}

{{/* An image's whole name: (list $ .Values.images.services). */}}
{{- define "blockyard.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- if $root.Values.imageRegistry }}{{ $name = printf "%s/%s" (trimSuffix "/" $root.Values.imageRegistry) $name }}{{ end -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The values of a component on top of the defaults, as YAML: (list $ .Values.graph), with more lists of values on top. */}}
{{- define "blockyard.component" -}}
{{- $root := index . 0 -}}
{{- $made := deepCopy $root.Values.defaults -}}
{{- range $values := rest . -}}
{{- $made = mergeOverwrite $made (deepCopy $values) -}}
{{- end -}}
{{- toYaml $made -}}
{{- end }}

{{/* What each container keeps to: the restricted Pod Security Standard, and a root file system that nobody writes to. */}}
{{- define "blockyard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What each pod keeps to, as a user of this id. */}}
{{- define "blockyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where the pods of a component may run: (list $ "graph" $component). */}}
{{- define "blockyard.placement" -}}
{{- $root := index . 0 -}}
{{- $component := index . 2 -}}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $component.topologySpreadConstraints }}
  {{- toYaml $component.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "blockyard.selector" (list $root (index $ 1)) | nindent 8 }}
{{- end }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "blockyard.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The account of a component's pods: (list $ "graph" $component). */}}
{{- define "blockyard.serviceAccountName" -}}
{{- $component := index . 2 -}}
{{- $component.serviceAccount.name | default (printf "%s-%s" (include "blockyard.fullname" (index . 0)) (index . 1)) -}}
{{- end }}

{{/* A ServiceAccount, where it has no name of its own, and a PodDisruptionBudget: (list $ "graph" $component). */}}
{{- define "blockyard.surroundings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $component := index . 2 -}}
{{- if not $component.serviceAccount.name }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "blockyard.metadata" (list $root $name) | nindent 2 }}
  {{- with $component.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- if and $component.podDisruptionBudget.enabled (gt (int $component.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "blockyard.metadata" (list $root $name) | nindent 2 }}
spec:
  maxUnavailable: {{ $component.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready protects nobody.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "blockyard.selector" (list $root $name) | nindent 6 }}
{{- end }}
{{- end }}

{{/* A value as text: whole numbers are floats in here, and would be 1e+09. */}}
{{- define "blockyard.text" -}}
{{- if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end -}}
{{- end }}
