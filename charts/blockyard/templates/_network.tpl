{{/* Parts of network policies. */}}

{{/* The pods of a component: (list $ "graph"). */}}
{{- define "blockyard.peer" -}}
- podSelector:
    matchLabels:
      {{- include "blockyard.selector" . | nindent 6 }}
{{- end }}

{{/* Calls of services: (list $ names). */}}
{{- define "blockyard.calls" -}}
{{- $root := index . 0 -}}
{{- if index . 1 }}
- ports: [{port: {{ (include "blockyard.ports" $root | fromYaml).grpc }}}]
  to:
    {{- range index . 1 }}
    {{- include "blockyard.peer" (list $root .) | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* What a component keeps its state in: (list $ $of). */}}
{{- define "blockyard.backends" -}}
{{- $root := index . 0 -}}
{{- $of := index . 1 -}}
{{- $values := $root.Values -}}
{{- if and $of.database $values.postgresql.enabled }}
- ports: [{port: 5432}]
  to:
    {{- include "blockyard.peer" (list $root "postgresql") | nindent 4 }}
{{- end }}
{{- if and $of.nats $values.nats.enabled }}
- ports: [{port: 4222}]
  to:
    {{- include "blockyard.peer" (list $root "nats") | nindent 4 }}
{{- end }}
{{- if $values.networkPolicy.backendEgress }}
{{- toYaml $values.networkPolicy.backendEgress | nindent 0 }}
{{- else -}}
{{- if and $of.database (not $values.postgresql.enabled) }}
- ports: [{port: {{ $values.postgresql.external.port }}}]
{{- end }}
{{- if and $of.nats (not $values.nats.enabled) }}
- ports:
    {{- range regexFindAll ":[0-9]+" $values.nats.external.url -1 | default (list ":4222") | uniq }}
    - {port: {{ trimPrefix ":" . }}}
    {{- end }}
{{- end }}
{{- if and $of.blobs $values.blobs.url }}
- ports:
    {{- range $values.blobs.ports }}
    - {port: {{ . }}}
    {{- end }}
{{- end }}
{{- if and $of.vault $values.secrets.vault.url }}
- ports: [{port: {{ regexFind ":[0-9]+" $values.secrets.vault.url | trimPrefix ":" | default (hasPrefix "https" $values.secrets.vault.url | ternary 443 80) }}}]
{{- end }}
{{- if $values.monitoring.otlpEndpoint }}
- ports: [{port: {{ splitList ":" $values.monitoring.otlpEndpoint | last }}}]
{{- end }}
{{- end }}
{{- end }}

{{- define "blockyard.metricsIngress" -}}
{{- with .Values.networkPolicy.metricsFrom }}
- ports: [{port: metrics}]
  from:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
