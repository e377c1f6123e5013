{{/* TLS between the parts. */}}

{{/* The Secret with the certificate of a part: (list $ "graph"). */}}
{{- define "blockyard.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- with $root.Values.internalTls -}}
{{- $own := index .existingSecrets $part | default (hasPrefix "runner-" $part | ternary (index .existingSecrets "runner") "") -}}
{{- if .certManager.enabled -}}
{{ include "blockyard.fullname" $root }}-{{ $part }}-tls
{{- else -}}
{{ $own | default .existingSecret | required (printf "internalTls needs certManager.enabled, existingSecret, or existingSecrets.%s" $part) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What it is mounted as: (list $ "graph"). Whoever is not of this group has no business with the key. */}}
{{- define "blockyard.tlsVolumes" -}}
{{- if (index . 0).Values.internalTls.enabled }}
- name: tls
  secret: {secretName: {{ include "blockyard.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- define "blockyard.tlsMounts" -}}
{{- if .Values.internalTls.enabled }}
- {name: tls, mountPath: /etc/blockyard/tls, readOnly: true}
{{- end }}
{{- end }}

{{/* All names of a Service: (list $ "b-blockyard-graph"). */}}
{{- define "blockyard.serviceNames" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $namespace := $root.Release.Namespace -}}
- {{ $name }}
- {{ $name }}.{{ $namespace }}
- {{ $name }}.{{ $namespace }}.svc
- {{ $name }}.{{ $namespace }}.svc.{{ $root.Values.internalTls.certManager.clusterDomain }}
{{- end }}
