{{/* Secrets that the chart makes at the first installation, and leaves as they are from then on. */}}

{{/* What is in a Secret of the release as YAML (base64 by key): (list $ name). It is looked up, or made once a rendering. */}}
{{- define "blockyard.secretData" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if not (hasKey $root "madeSecrets") }}{{ $_ := set $root "madeSecrets" dict }}{{ end -}}
{{- if not (hasKey $root.madeSecrets $name) -}}
{{- $there := dict -}}
{{- /* Without a name it would list all Secrets, and ask for the right to. */ -}}
{{- if $name }}{{ $there = (lookup "v1" "Secret" $root.Release.Namespace $name).data | default dict }}{{ end -}}
{{- range $key := include "blockyard.secretKeys" (list $root $name) | fromYamlArray -}}
{{- if not (hasKey $there $key) -}}
{{- $value := randAlphaNum 48 -}}
{{- if eq $name (printf "%s-vault-keys" (include "blockyard.fullname" $root)) }}{{ $value = randBytes 32 }}{{ end -}}
{{- /* NATS reads a variable as it reads its configuration: one that begins with a digit might be a number. */ -}}
{{- if eq $name (printf "%s-nats" (include "blockyard.fullname" $root)) }}{{ $value = printf "p%s" $value }}{{ end -}}
{{- $_ := set $there $key (b64enc $value) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $root.madeSecrets $name $there -}}
{{- end -}}
{{- toYaml (index $root.madeSecrets $name) -}}
{{- end }}

{{/* The keys of a Secret that the chart makes: none of one that it does not. */}}
{{- define "blockyard.secretKeys" -}}
{{- $root := index . 0 -}}
{{- $prefix := include "blockyard.fullname" $root -}}
{{- $name := index . 1 -}}
{{- $values := $root.Values -}}
{{- if and (eq $name (printf "%s-tokens" $prefix)) (not $values.secrets.existingSecret) -}}
[jwt-secret, service-secret, runner-secret]
{{- else if and (eq $name (printf "%s-vault-keys" $prefix)) (not $values.secrets.vault.existingSecret) -}}
[first]
{{- else if and (eq $name (printf "%s-postgresql" $prefix)) (not $values.postgresql.passwordsSecret) -}}
[postgres, graph, execution, credentials, account, notification]
{{- else if and (eq $name (printf "%s-nats" $prefix)) (not $values.nats.passwordsSecret) -}}
- cluster
{{- range $user := include "blockyard.natsUserNames" $root | fromYamlArray }}
- {{ $user }}
{{- end }}
{{- else -}}
[]
{{- end -}}
{{- end }}

{{/* A Secret that the chart makes: (list $ name immutable why). */}}
{{- define "blockyard.madeSecret" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ index . 1 }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "blockyard.labels" (list $root "secrets") | nindent 4 }}
  annotations:
    # It outlives the release: so do the volumes and databases that are of no use without it.
    helm.sh/resource-policy: keep
type: Opaque
{{- if index . 2 }}
# Whoever renders the chart without a look into the cluster is refused here, instead of making secrets worthless.
immutable: true
{{- end }}
data:
  {{- include "blockyard.secretData" (list $root (index . 1)) | nindent 2 }}
{{- end }}

{{/* The users of NATS that have passwords. */}}
{{- define "blockyard.natsUserNames" -}}
{{- range $name, $of := include "blockyard.services" . | fromYaml }}
{{- if $of.nats }}
- {{ $name }}
{{- end }}
{{- end }}
{{- range .Values.runnerPools }}
- runner.{{ .name }}
{{- end }}
{{- range .Values.nats.subscribers }}
- {{ printf "subscriber.%s" . | quote }}
{{- end }}
{{- end }}
