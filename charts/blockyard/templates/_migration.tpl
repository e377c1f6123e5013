{{/* The pod that migrates. It may run any number of times, and several at once. */}}
{{- define "blockyard.migration" -}}
{{- $services := include "blockyard.services" . | fromYaml -}}
metadata:
  labels:
    {{- include "blockyard.selector" (list $ "migrate") | nindent 4 }}
spec:
  restartPolicy: OnFailure
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "blockyard.pullSecrets" . | nindent 2 }}
  securityContext:
    {{- include "blockyard.podSecurity" (include "blockyard.userId" .) | nindent 4 }}
  {{- with .Values.defaults.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.defaults.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: migrate
      image: {{ include "blockyard.image" (list $ .Values.images.services) }}
      imagePullPolicy: {{ .Values.images.services.pullPolicy }}
      command: [python, -m, services.common.migrate, {{ keys $services | sortAlpha | join ", " }}]
      env:
        {{- if .Values.postgresql.enabled }}
        - name: BLOCKYARD_MIGRATION_DATABASE_URL
          value: {{ include "blockyard.databaseUrl" (list $ "postgres") }}
        {{- include "blockyard.secretVariable" (list "PGPASSWORD" (include "blockyard.postgresqlSecret" .) "postgres") | nindent 8 }}
        {{- else }}
        {{- include "blockyard.secretVariable" (list "BLOCKYARD_MIGRATION_DATABASE_URL" (required "postgresql.external.migrationSecret must be set where postgresql.enabled is false" .Values.postgresql.external.migrationSecret) "migration-url") | nindent 8 }}
        {{- end }}
        {{- range $name := keys $services | sortAlpha }}
        {{- include "blockyard.secretVariable" (list (printf "BLOCKYARD_%s_DB_PASSWORD" (upper $name)) (include "blockyard.postgresqlSecret" $) $name) | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .Values.migrations.resources | nindent 8 }}
      securityContext:
        {{- include "blockyard.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- include "blockyard.databaseMounts" . | nindent 8 }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- include "blockyard.databaseVolumes" . | nindent 4 }}
{{- end }}
