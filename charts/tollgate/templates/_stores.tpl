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
{{- else if and $values.external.existingSecret (not $values.external.urlKey) -}}{{ $values.external.passwordKey }}{{- end -}}
{{- end -}}

{{- /* As the programs' variables, not as arguments: `kubectl exec … -- /tollgate-dataplane ledger restore` needs no flag then. */}}
{{- define "tollgate.storeEnv" -}}
{{- range $store := list "redis" "postgres" }}
{{- $values := index $.Values $store }}
{{- if $values.bundled.enabled }}
{{- $url := printf "redis://tollgate@%s.%s.svc:6379" (include "tollgate.redis" $) $.Release.Namespace }}
{{- if eq $store "postgres" }}{{ $url = printf "postgres://tollgate@%s.%s.svc:5432/tollgate?sslmode=disable" (include "tollgate.postgres" $) $.Release.Namespace }}{{ end }}
- {name: TOLLGATE_{{ upper $store }}, value: {{ $url | quote }}}
{{- else if $values.external.urlKey }}
- name: TOLLGATE_{{ upper $store }}
  valueFrom: {secretKeyRef: {name: {{ $values.external.existingSecret }}, key: {{ $values.external.urlKey }}}}
{{- else }}
- {name: TOLLGATE_{{ upper $store }}, value: {{ $values.external.url | quote }}}
{{- end }}
{{- if include "tollgate.storePasswordKey" (list $ $store) }}
- {name: TOLLGATE_{{ upper $store }}_PASSWORD_FILE, value: /etc/tollgate/{{ $store }}/password}
{{- end }}
{{- if and (not $values.bundled.enabled) $values.external.caKey }}
- {name: TOLLGATE_{{ upper $store }}_CA, value: /etc/tollgate/{{ $store }}/ca.crt}
{{- end }}
{{- end }}
{{- with .Values.redis.prefix }}
- {name: TOLLGATE_REDIS_PREFIX, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- /* Ports of an external store: those of its address, and those of the values. Takes (list . "redis" ports). */}}
{{- define "tollgate.storePorts" -}}
{{- $root := index . 0 -}}{{- $url := (index $root.Values (index . 1)).external.url -}}
{{- $ports := list -}}
{{- range $found := regexFindAll ":[0-9]+(?:[,/?]|$)" (regexReplaceAll "^[a-z+]+://([^/@]*@)?" $url "") -1 -}}
{{- $ports = append $ports (int (regexFind "[0-9]+" $found)) -}}
{{- end -}}
{{- range index . 2 -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- include "tollgate.ports" ($ports | uniq) -}}
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
{{- range $service := list $name (printf "%s-gateway-headless" $name) }}{{/* relays call the second */}}
- {{ $service }}
- {{ $service }}.{{ $.Release.Namespace }}
- {{ $service }}.{{ $.Release.Namespace }}.svc
- {{ $service }}.{{ $.Release.Namespace }}.svc.cluster.local
{{- end }}
{{- end -}}
