{{/* nats-server's configuration. Passwords come from variables of the container, in the order of natsUserNames. */}}
{{- define "blockyard.natsConfiguration" -}}
{{- $prefix := include "blockyard.fullname" . -}}
{{- $rights := .Files.Get "files/nats_users.yaml" | fromYaml -}}
{{- $users := include "blockyard.natsUserNames" . | fromYamlArray -}}
{{- $everywhere := contains ":" .Values.listenAddress | ternary (printf "[%s]" .Values.listenAddress) .Values.listenAddress -}}
server_name: $SERVER_NAME
listen: "{{ $everywhere }}:4222"
http: "{{ $everywhere }}:8222"
max_payload: 8MB
# A consumer that is slow for a moment is not cut off.
max_pending: 256MB
write_deadline: "10s"
{{- if .Values.internalTls.enabled }}
# Users have passwords, so programs that subscribe need no certificate.
tls {cert_file: /etc/blockyard/tls/tls.crt, key_file: /etc/blockyard/tls/tls.key, ca_file: /etc/blockyard/tls/ca.crt}
{{- end }}
jetstream {
  store_dir: /data
  # A ceiling for accounting only: each stream has its own limit.
  max_file_store: 64GB
  max_memory_store: 256MB
}
{{- if gt (int .Values.nats.replicas) 1 }}
cluster {
  name: {{ $prefix }}
  listen: "{{ $everywhere }}:6222"
  authorization {user: route, password: $ROUTE_PASSWORD}
  {{- if .Values.internalTls.enabled }}
  tls {cert_file: /etc/blockyard/tls/tls.crt, key_file: /etc/blockyard/tls/tls.key, ca_file: /etc/blockyard/tls/ca.crt, verify: true}
  {{- end }}
  routes: [
    {{- range $at := until (int .Values.nats.replicas) }}
    $ROUTE_{{ $at }}
    {{- end }}
  ]
}
{{- end }}
accounts {
  BLOCKYARD {
    jetstream: enabled
    users: [
      {{- range $at, $user := $users }}
      {{- if not (hasPrefix "subscriber." $user) }}
      {{- $pool := hasPrefix "runner." $user | ternary (trimPrefix "runner." $user) "" }}
      {{- $of := index $rights (empty $pool | ternary $user "runner.{pool}") }}
      {
        user: {{ $user | quote }}, password: $PASSWORD_{{ $at }}
        permissions {
          {{- range $direction := list "publish" "subscribe" }}
          {{ $direction }}: [
            {{- range $subject := keys (index $of $direction) | sortAlpha }}
            {{ $subject | replace "{pool}" $pool | quote }}
            {{- end }}
          ]
          {{- end }}
        }
      }
      {{- end }}
      {{- end }}
    ]
    exports: [
      {{- range $id := .Values.nats.subscribers }}
      {{- range $subject := keys (index $rights "subscriber.{user}").imports | sortAlpha }}
      {stream: {{ $subject | replace "{user}" (include "blockyard.userWord" $id) | quote }}, accounts: [{{ printf "subscriber.%s" $id | quote }}]}
      {{- end }}
      {{- end }}
    ]
  }
  {{- range $at, $user := $users }}
  {{- if hasPrefix "subscriber." $user }}
  {{- $of := index $rights "subscriber.{user}" }}
  {{- $word := include "blockyard.userWord" (trimPrefix "subscriber." $user) }}
  {{ $user | quote }} {
    jetstream {max_mem: 0, max_file: 1073741824, max_streams: 1, max_consumers: 64}
    imports: [
      {{- range $subject := keys $of.imports | sortAlpha }}
      {stream: {account: BLOCKYARD, subject: {{ $subject | replace "{user}" $word | quote }}}}
      {{- end }}
    ]
    users: [
      {
        user: {{ $user | quote }}, password: $PASSWORD_{{ $at }}
        permissions {
          {{- range $direction := list "publish" "subscribe" }}
          {{ $direction }}: [
            {{- range $subject := keys (index $of $direction) | sortAlpha }}
            {{ $subject | replace "{user}" $word | quote }}
            {{- end }}
          ]
          {{- end }}
        }
      }
    ]
  }
  {{- end }}
  {{- end }}
}
{{- end }}

{{/* An id of a user as one word of a subject: blockyard.feeds.user_word. */}}
{{- define "blockyard.userWord" -}}
{{ . | replace "." "%2E" }}
{{- end }}

{{/* What Go's memory may come to, in bytes: four fifths of the limit, beyond which the process is killed. */}}
{{- define "blockyard.goMemory" -}}
{{- with (.limits | default dict).memory -}}
{{- $text := include "blockyard.text" . -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (index $factors (regexFind "[A-Za-z]*$" $text)) 0.8 | int64 -}}
{{- end -}}
{{- end }}
