{{- /* Redis and PostgreSQL as the gateways see them: addresses as arguments or, with urlKey, from a Secret; passwords as files. */}}
{{- define "tollgate.redis" -}}{{ include "tollgate.fullname" . }}-redis{{- end -}}
{{- define "tollgate.postgres" -}}{{ include "tollgate.fullname" . }}-postgres{{- end -}}

{{- /* Secret of a store and the key of the password in it; empty without a password. Takes (list . "redis"). */}}
{{- define "tollgate.storeSecret" -}}
{{- $root := index . 0 -}}{{- $values := index $root.Values (index . 1) -}}
{{- if $values.bundled.enabled -}}
{{ default (printf "%s-%s" (include "tollgate.fullname" $root) (index . 1)) $values.bundled.existingSecret }}
{{- else -}}{{ $values.external.existingSecret }}{{- end -}}
{{- end -}}
{{- define "tollgate.storePasswordKey" -}}
{{- $root := index . 0 -}}{{- $values := index $root.Values (index . 1) -}}
{{- if $values.bundled.enabled -}}password
{{- else if $values.external.existingSecret -}}{{ $values.external.passwordKey }}{{- end -}}
{{- end -}}

{{- define "tollgate.storeArgs" -}}
{{- if .Values.redis.bundled.enabled }}
- --redis=redis://tollgate@{{ include "tollgate.redis" . }}.{{ .Release.Namespace }}.svc:6379
{{- else if not .Values.redis.external.urlKey }}
- --redis={{ .Values.redis.external.url }}
{{- end }}
{{- if include "tollgate.storePasswordKey" (list . "redis") }}
- --redis-password-file=/etc/tollgate/redis/password
{{- end }}
{{- if and (not .Values.redis.bundled.enabled) .Values.redis.external.caKey }}
- --redis-ca=/etc/tollgate/redis/ca.crt
{{- end }}
{{- with .Values.redis.prefix }}
- --redis-prefix={{ . }}
{{- end }}
{{- if .Values.postgres.bundled.enabled }}
- --postgres=postgres://tollgate@{{ include "tollgate.postgres" . }}.{{ .Release.Namespace }}.svc:5432/tollgate?sslmode=disable
{{- else if not .Values.postgres.external.urlKey }}
- --postgres={{ .Values.postgres.external.url }}
{{- end }}
{{- if include "tollgate.storePasswordKey" (list . "postgres") }}
- --postgres-password-file=/etc/tollgate/postgres/password
{{- end }}
{{- if and (not .Values.postgres.bundled.enabled) .Values.postgres.external.caKey }}
- --postgres-ca=/etc/tollgate/postgres/ca.crt
{{- end }}
{{- end -}}

{{- define "tollgate.storeEnv" -}}
{{- range $store := list "redis" "postgres" }}
{{- $values := index $.Values $store }}
{{- if and (not $values.bundled.enabled) $values.external.urlKey }}
- name: TOLLGATE_{{ upper $store }}
  valueFrom: {secretKeyRef: {name: {{ $values.external.existingSecret }}, key: {{ $values.external.urlKey }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.storeMounts" -}}
{{- range $store := list "redis" "postgres" }}
{{- if include "tollgate.storeItems" (list $ $store) }}
- {name: {{ $store }}, mountPath: /etc/tollgate/{{ $store }}, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.storeVolumes" -}}
{{- range $store := list "redis" "postgres" }}
{{- with include "tollgate.storeItems" (list $ $store) }}
- name: {{ $store }}
  secret:
    secretName: {{ include "tollgate.storeSecret" (list $ $store) }}
    defaultMode: 0440
    items:
    {{- . | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The keys of a store's Secret that gateways get, and no others of it. */}}
{{- define "tollgate.storeItems" -}}
{{- $root := index . 0 -}}{{- $values := index $root.Values (index . 1) -}}
{{- with include "tollgate.storePasswordKey" . }}
- {key: {{ . }}, path: password}
{{- end }}
{{- if and (not $values.bundled.enabled) $values.external.existingSecret $values.external.caKey }}
- {key: {{ $values.external.caKey }}, path: ca.crt}
{{- end }}
{{- end -}}

{{- /* A password that was made before, or a new one: (list . "name of the Secret"). */}}
{{- define "tollgate.oncePassword" -}}
{{- $root := index . 0 -}}
{{- $there := (lookup "v1" "Secret" $root.Release.Namespace (index . 1)) | default dict -}}
{{- $old := index ($there.data | default dict) "password" -}}
{{- if $old -}}{{ $old | b64dec }}{{- else -}}{{ randAlphaNum 40 }}{{- end -}}
{{- end -}}

{{- /* Names under which gateways are called in the cluster, as a YAML list. */}}
{{- define "tollgate.gateway.names" -}}
{{- $name := include "tollgate.fullname" . -}}
- {{ $name }}
- {{ $name }}.{{ .Release.Namespace }}
- {{ $name }}.{{ .Release.Namespace }}.svc
- {{ $name }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end -}}
