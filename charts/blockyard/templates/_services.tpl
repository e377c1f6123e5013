{{/* The pod of a service: the root, and its `name`, `of` and `component`. The doctor looks at the same one. */}}
{{- define "blockyard.servicePod" -}}
{{- $name := $.name }}
{{- $of := $.of }}
{{- $component := $.component }}
{{- $ports := include "blockyard.ports" $ | fromYaml }}
serviceAccountName: {{ include "blockyard.serviceAccountName" (list $ $name $component) }}
automountServiceAccountToken: false
# Kubernetes would set variables such as BLOCKYARD_GRAPH_PORT for the Services of a release called blockyard.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $component.terminationGracePeriodSeconds }}
{{- include "blockyard.pullSecrets" $ | nindent 0 }}
securityContext:
  {{- include "blockyard.podSecurity" (include "blockyard.userId" $) | nindent 2 }}
{{- include "blockyard.placement" (list $ $name $component) | nindent 0 }}
containers:
  - name: {{ $name }}
    image: {{ include "blockyard.image" (list $ $.Values.images.services) }}
    imagePullPolicy: {{ $.Values.images.services.pullPolicy }}
    command: [python, -m, services.{{ $name }}]
    env:
      {{- include "blockyard.secretVariable" (list "BLOCKYARD_JWT_SECRET" (include "blockyard.tokenSecret" $) "jwt-secret") | nindent 6 }}
      {{- include "blockyard.secretVariable" (list "BLOCKYARD_SERVICE_SECRET" (include "blockyard.tokenSecret" $) "service-secret") | nindent 6 }}
      {{- include "blockyard.secretVariable" (list "BLOCKYARD_RUNNER_SECRET" (include "blockyard.tokenSecret" $) "runner-secret") | nindent 6 }}
      {{- include "blockyard.secretVariable" (list "PGPASSWORD" (include "blockyard.postgresqlSecret" $) $name) | nindent 6 }}
      {{- $settings := include "blockyard.plainEnvironment" (list $ $of.calls) | fromYaml }}
      {{- $_ := set $settings "BLOCKYARD_SERVICE" $name }}
      {{- $_ := set $settings "BLOCKYARD_RATE_LIMIT_REPLICAS" $component.replicas }}
      {{- with $.Values.edge.networks }}
      {{- $_ := set $settings "BLOCKYARD_TRUSTED_PROXIES" (join "," .) }}
      {{- end }}
      {{- $_ := set $settings "BLOCKYARD_DATABASE_URL" (include "blockyard.databaseUrl" (list $ $name)) }}
      {{- if $of.nats }}
      {{- $settings = merge $settings (include "blockyard.natsEnvironment" (list $ $name) | fromYaml) }}
      {{- end }}
      {{- if $of.blobs }}
      {{- $_ := set $settings "BLOCKYARD_BLOB_URL" (include "blockyard.blobsUrl" $) }}
      {{- end }}
      {{- if $of.web }}
      {{- $_ := set $settings "BLOCKYARD_WEB_PORT" $ports.web }}
      {{- end }}
      {{- if eq $name "credentials" }}
      {{- $_ := set $settings "BLOCKYARD_VAULT_KEYS_URL" ($.Values.secrets.vault.url | default "file:///etc/blockyard/keys") }}
      {{- if $.Values.secrets.vault.tokenSecret }}
      {{- $_ := set $settings "BLOCKYARD_VAULT_KEYS_TOKEN_FILE" "/etc/blockyard/vault-token/token" }}
      {{- end }}
      {{- end }}
      {{- include "blockyard.environment" (list $settings $component.env) | nindent 6 }}
      {{- with $component.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if and $of.blobs $.Values.blobs.envSecret }}
    envFrom:
      - secretRef: {name: {{ $.Values.blobs.envSecret }}}
    {{- end }}
    ports:
      - {name: grpc, containerPort: {{ $ports.grpc }}}
      {{- if $of.web }}
      - {name: web, containerPort: {{ $ports.web }}}
      {{- end }}
      - {name: metrics, containerPort: {{ $ports.metrics }}}
      - {name: health, containerPort: {{ $ports.health }}}
    {{- include "blockyard.probes" $ | nindent 4 }}
    resources:
      {{- toYaml $component.resources | nindent 6 }}
    securityContext:
      {{- include "blockyard.containerSecurity" $ | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- include "blockyard.tlsMounts" $ | nindent 6 }}
      {{- include "blockyard.databaseMounts" $ | nindent 6 }}
      {{- if $of.nats }}
      {{- include "blockyard.natsMounts" $ | nindent 6 }}
      {{- end }}
      {{- if and $of.blobs (not $.Values.blobs.url) }}
      - {name: blobs, mountPath: /var/lib/blockyard/blobs}
      {{- end }}
      {{- if eq $name "credentials" }}
      {{- if not $.Values.secrets.vault.url }}
      - {name: vault-keys, mountPath: /etc/blockyard/keys, readOnly: true}
      {{- end }}
      {{- if $.Values.secrets.vault.tokenSecret }}
      - {name: vault-token, mountPath: /etc/blockyard/vault-token, readOnly: true}
      {{- end }}
      {{- end }}
      {{- with $component.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- include "blockyard.tlsVolumes" (list $ $name) | nindent 2 }}
  {{- include "blockyard.databaseVolumes" $ | nindent 2 }}
  {{- if $of.nats }}
  {{- include "blockyard.natsVolumes" (list $ $name) | nindent 2 }}
  {{- end }}
  {{- if and $of.blobs (not $.Values.blobs.url) }}
  - name: blobs
    persistentVolumeClaim: {claimName: {{ include "blockyard.blobsClaim" $ }}}
  {{- end }}
  {{- if eq $name "credentials" }}
  {{- if not $.Values.secrets.vault.url }}
  - name: vault-keys
    secret: {secretName: {{ include "blockyard.vaultSecret" $ }}}
  {{- end }}
  {{- with $.Values.secrets.vault.tokenSecret }}
  - name: vault-token
    secret: {secretName: {{ . }}}
  {{- end }}
  {{- end }}
  {{- with $component.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
