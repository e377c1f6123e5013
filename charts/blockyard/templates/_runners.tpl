{{/* The pod of a pool of runners: the root, and its `name`, `pool` and `component`. The doctor looks at the same one. */}}
{{- define "blockyard.runnerPod" -}}
{{- $pool := $.pool }}
{{- $name := $.name }}
{{- $component := $.component }}
{{- $ports := include "blockyard.ports" $ | fromYaml }}
{{- $image := mergeOverwrite (deepCopy $.Values.images.runner) $component.image }}
serviceAccountName: {{ include "blockyard.serviceAccountName" (list $ $name $component) }}
# Of the account that may make the Jobs of code, where the pool runs some. The kubelet replaces it within the hour.
automountServiceAccountToken: {{ $component.sandbox }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $component.terminationGracePeriodSeconds }}
{{- include "blockyard.pullSecrets" $ | nindent 0 }}
securityContext:
  {{- include "blockyard.podSecurity" (include "blockyard.userId" $) | nindent 2 }}
{{- include "blockyard.placement" (list $ $name $component) | nindent 0 }}
containers:
  - name: runner
    image: {{ include "blockyard.image" (list $ $image) }}
    imagePullPolicy: {{ $image.pullPolicy }}
    command: [python, -m, services.runner]
    env:
      {{- include "blockyard.secretVariable" (list "BLOCKYARD_RUNNER_SECRET" (include "blockyard.tokenSecret" $) "runner-secret") | nindent 6 }}
      {{- $settings := include "blockyard.plainEnvironment" (list $ (list "graph" "execution" "credentials")) | fromYaml }}
      {{- $settings = merge $settings (include "blockyard.natsEnvironment" (list $ (printf "runner.%s" $pool)) | fromYaml) }}
      {{- $_ := set $settings "BLOCKYARD_SERVICE" "runner" }}
      {{- $_ := set $settings "BLOCKYARD_POOL" $pool }}
      {{- $_ := set $settings "BLOCKYARD_BLOB_URL" (include "blockyard.blobsUrl" $) }}
      {{- $_ := set $settings "BLOCKYARD_GRACE_SECONDS" $component.gracePeriodSeconds }}
      {{- $_ := set $settings "BLOCKYARD_SPILL_FOLDER" "/var/lib/blockyard/spill" }}
      {{- $_ := set $settings "BLOCKYARD_DRAIN_SECONDS" "0" }}
      {{- if $component.sandbox }}
      {{- $settings = merge $settings (include "blockyard.sandboxEnvironment" $ | fromYaml) }}
      {{- end }}
      {{- include "blockyard.environment" (list $settings $component.env) | nindent 6 }}
      {{- with $component.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if $.Values.blobs.envSecret }}
    envFrom:
      - secretRef: {name: {{ $.Values.blobs.envSecret }}}
    {{- end }}
    ports:
      - {name: metrics, containerPort: {{ $ports.metrics }}}
      - {name: health, containerPort: {{ $ports.health }}}
    {{- include "blockyard.probes" $ | nindent 4 }}
    resources:
      {{- toYaml $component.resources | nindent 6 }}
    securityContext:
      {{- include "blockyard.containerSecurity" $ | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: spill, mountPath: /var/lib/blockyard/spill}
      {{- include "blockyard.tlsMounts" $ | nindent 6 }}
      {{- include "blockyard.natsMounts" $ | nindent 6 }}
      {{- if not $.Values.blobs.url }}
      - {name: blobs, mountPath: /var/lib/blockyard/blobs}
      {{- end }}
      {{- with $component.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: spill
    emptyDir: {}
  {{- include "blockyard.tlsVolumes" (list $ $name) | nindent 2 }}
  {{- include "blockyard.natsVolumes" (list $ (printf "runner.%s" $pool)) | nindent 2 }}
  {{- if not $.Values.blobs.url }}
  - name: blobs
    persistentVolumeClaim: {claimName: {{ include "blockyard.blobsClaim" $ }}}
  {{- end }}
  {{- with $component.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
