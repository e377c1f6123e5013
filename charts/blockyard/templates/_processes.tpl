{{/* What the processes of Blockyard are told: where the others are, and as whom they come. */}}

{{/* By component: what it calls, and what it keeps its state in. The edge, runners and this draw the arrows of the network policies. */}}
{{- define "blockyard.services" -}}
graph: {calls: [account], database: true}
execution: {calls: [graph, credentials, account], database: true, nats: true, blobs: true}
credentials: {calls: [graph, execution, account], database: true, nats: true, outside: true, vault: true}
account: {calls: [], database: true, nats: true, outside: true}
notification: {calls: [graph, execution, credentials, account], database: true, nats: true, web: true, outside: true}
{{- end }}

{{- define "blockyard.ports" -}}
grpc: 50051
web: 8081
metrics: 9090
health: 8086
edge: 8080
drain: 9902
{{- end }}

{{- define "blockyard.userId" -}}65532{{- end }}

{{/* Names of Secrets. */}}
{{- define "blockyard.tokenSecret" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-tokens" (include "blockyard.fullname" .)) -}}
{{- end }}
{{- define "blockyard.vaultSecret" -}}
{{- .Values.secrets.vault.existingSecret | default (printf "%s-vault-keys" (include "blockyard.fullname" .)) -}}
{{- end }}
{{- define "blockyard.postgresqlSecret" -}}
{{- .Values.postgresql.passwordsSecret | default (printf "%s-postgresql" (include "blockyard.fullname" .)) -}}
{{- end }}
{{- define "blockyard.natsSecret" -}}
{{- .Values.nats.passwordsSecret | default (printf "%s-nats" (include "blockyard.fullname" .)) -}}
{{- end }}

{{/* PostgreSQL for a role, without its password, which is in PGPASSWORD: (list $ "graph"). */}}
{{- define "blockyard.databaseUrl" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.postgresql.enabled -}}
postgresql://{{ index . 1 }}@{{ include "blockyard.fullname" $root }}-postgresql:5432/blockyard
{{- else -}}
{{- with $root.Values.postgresql.external -}}
postgresql://{{ index $ 1 }}@{{ required "postgresql.external.host must be set where postgresql.enabled is false" .host }}:{{ .port }}/{{ .database }}?sslmode={{ .sslMode }}
{{- if hasPrefix "verify-" .sslMode }}&sslrootcert={{ empty .caSecret | ternary "/etc/ssl/certs/ca-certificates.crt" "/etc/blockyard/postgresql/ca.crt" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "blockyard.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{ ternary "tls" "nats" .Values.internalTls.enabled }}://{{ include "blockyard.fullname" . }}-nats:4222
{{- else -}}
{{ required "nats.external.url must be set where nats.enabled is false" .Values.nats.external.url }}
{{- end -}}
{{- end }}

{{/* Whether processes come to NATS as users with passwords. */}}
{{- define "blockyard.natsUsers" -}}
{{- if or .Values.nats.enabled .Values.nats.passwordsSecret }}true{{ end -}}
{{- end }}

{{/* Variables of all processes of Blockyard as a mapping of YAML: (list $ calls). Those of `env` win. */}}
{{- define "blockyard.plainEnvironment" -}}
{{- $root := index . 0 -}}
{{- $ports := include "blockyard.ports" $root | fromYaml -}}
BLOCKYARD_HOST: {{ $root.Values.listenAddress | quote }}
BLOCKYARD_PORT: {{ $ports.grpc | quote }}
BLOCKYARD_METRICS_PORT: {{ $ports.metrics | quote }}
BLOCKYARD_HEALTH_PORT: {{ $ports.health | quote }}
# Longer than it takes until nobody is sent here any more; with minReadySeconds, longer than names are cached.
BLOCKYARD_DRAIN_SECONDS: "15"
{{- range $name := index . 1 }}
BLOCKYARD_{{ upper $name }}_ADDRESS: {{ include "blockyard.fullname" $root }}-{{ $name }}:{{ $ports.grpc }}
{{- end }}
{{- with $root.Values.monitoring.otlpEndpoint }}
BLOCKYARD_OTLP_ENDPOINT: {{ . }}
{{- end }}
{{- if $root.Values.internalTls.enabled }}
BLOCKYARD_TLS_CERTIFICATE: /etc/blockyard/tls/tls.crt
BLOCKYARD_TLS_KEY: /etc/blockyard/tls/tls.key
BLOCKYARD_TLS_CA: /etc/blockyard/tls/ca.crt
BLOCKYARD_TLS_CLIENT_CA: /etc/blockyard/tls/ca.crt
{{- end }}
{{- end }}

{{/* A mapping of variables as a list: (list $mapping $env). What `env` says wins. */}}
{{- define "blockyard.environment" -}}
{{- range $name, $value := mergeOverwrite (deepCopy (index . 0)) (deepCopy (index . 1)) }}
- name: {{ $name }}
  value: {{ include "blockyard.text" $value | quote }}
{{- end }}
{{- end }}

{{/* A variable from a Secret: (list NAME secret key). */}}
{{- define "blockyard.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
{{- end }}

{{/* Who the process is on NATS: (list $ "execution"). */}}
{{- define "blockyard.natsEnvironment" -}}
{{- $root := index . 0 -}}
BLOCKYARD_NATS_URL: {{ include "blockyard.natsUrl" $root }}
BLOCKYARD_NATS_STREAM_REPLICAS: {{ $root.Values.nats.enabled | ternary $root.Values.nats.replicas $root.Values.nats.external.streamReplicas | quote }}
{{- if include "blockyard.natsUsers" $root }}
BLOCKYARD_NATS_USER: {{ index . 1 }}
BLOCKYARD_NATS_PASSWORD_FILE: /etc/blockyard/nats/password
{{- end }}
{{- if $root.Values.nats.enabled }}
{{- if $root.Values.internalTls.enabled }}
BLOCKYARD_NATS_CA: /etc/blockyard/tls/ca.crt
{{- end }}
{{- else if $root.Values.nats.external.caSecret }}
BLOCKYARD_NATS_CA: /etc/blockyard/nats-ca/ca.crt
{{- end }}
{{- if and (not $root.Values.nats.enabled) $root.Values.nats.external.clientSecret }}
BLOCKYARD_NATS_CERTIFICATE: /etc/blockyard/nats-client/tls.crt
BLOCKYARD_NATS_KEY: /etc/blockyard/nats-client/tls.key
{{- end }}
{{- end }}

{{- define "blockyard.natsVolumes" -}}
{{- $root := index . 0 -}}
{{- if include "blockyard.natsUsers" $root }}
- name: nats
  secret: {secretName: {{ include "blockyard.natsSecret" $root }}, items: [{key: {{ index . 1 }}, path: password}]}
{{- end }}
{{- if not $root.Values.nats.enabled }}
{{- with $root.Values.nats.external.caSecret }}
- name: nats-ca
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- with $root.Values.nats.external.clientSecret }}
- name: nats-client
  secret: {secretName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "blockyard.natsMounts" -}}
{{- if include "blockyard.natsUsers" . }}
- {name: nats, mountPath: /etc/blockyard/nats, readOnly: true}
{{- end }}
{{- if not .Values.nats.enabled }}
{{- if .Values.nats.external.caSecret }}
- {name: nats-ca, mountPath: /etc/blockyard/nats-ca, readOnly: true}
{{- end }}
{{- if .Values.nats.external.clientSecret }}
- {name: nats-client, mountPath: /etc/blockyard/nats-client, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{/* Where large values and files are kept. */}}
{{- define "blockyard.blobsUrl" -}}
{{ .Values.blobs.url | default "file:///var/lib/blockyard/blobs" }}
{{- end }}
{{- define "blockyard.blobsClaim" -}}
{{ .Values.blobs.volume.existingClaim | default (printf "%s-blobs" (include "blockyard.fullname" .)) }}
{{- end }}

{{/* Health by gRPC, in plain text on a port of its own. A restart brings no database back: liveness is the process's own. */}}
{{- define "blockyard.probes" -}}
{{- $port := (include "blockyard.ports" . | fromYaml).health -}}
# Until the schema is there, which may take as long as a migration does.
startupProbe:
  grpc: {port: {{ $port }}, service: liveness}
  periodSeconds: 1
  failureThreshold: 600
livenessProbe:
  grpc: {port: {{ $port }}, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc: {port: {{ $port }}}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* Certificates that PostgreSQL's is checked by. */}}
{{- define "blockyard.databaseVolumes" -}}
{{- if and (not .Values.postgresql.enabled) .Values.postgresql.external.caSecret }}
- name: postgresql
  secret: {secretName: {{ .Values.postgresql.external.caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- define "blockyard.databaseMounts" -}}
{{- if and (not .Values.postgresql.enabled) .Values.postgresql.external.caSecret }}
- {name: postgresql, mountPath: /etc/blockyard/postgresql, readOnly: true}
{{- end }}
{{- end }}

{{/* Pods are made anew when what they read at their start has changed. Files of certificates and keys are read again by themselves. */}}
{{- define "blockyard.checksums" -}}
{{- range $what, $name := dict "tokens" (include "blockyard.tokenSecret" .) "postgresql" (include "blockyard.postgresqlSecret" .) }}
checksum/{{ $what }}: {{ include "blockyard.secretData" (list $ $name) | sha256sum }}
{{- end }}
{{- end }}

{{/* The names of all pools. */}}
{{- define "blockyard.poolNames" -}}
{{- range .Values.runnerPools }}
- {{ .name | quote }}
{{- end }}
{{- end }}

{{/* The port of the edge's Service. */}}
{{- define "blockyard.edgePort" -}}
{{ .Values.edge.service.port | default (ternary 443 80 (not (empty .Values.edge.tls.secretName))) }}
{{- end }}
