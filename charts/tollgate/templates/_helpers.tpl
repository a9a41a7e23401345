{{- /* Names. `tollgate` for the release tollgate, `<release>-tollgate` for others. */}}
{{- define "tollgate.fullname" -}}
{{- $name := default "tollgate" .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-scoped objects: two releases of one name in two namespaces must not meet. */}}
{{- define "tollgate.clusterName" -}}
{{- if eq .Release.Namespace "tollgate-system" -}}{{ include "tollgate.fullname" . }}{{- else -}}
{{ printf "%s-%s" (include "tollgate.fullname" .) .Release.Namespace | trunc 80 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "tollgate.operator" -}}{{ include "tollgate.fullname" . }}-operator{{- end -}}
{{- define "tollgate.operator.serviceAccount" -}}{{ default (include "tollgate.operator" .) .Values.operator.serviceAccount.name }}{{- end -}}
{{- define "tollgate.gateway.serviceAccount" -}}{{ default (printf "%s-gateway" (include "tollgate.fullname" .)) .Values.gateway.serviceAccount.name }}{{- end -}}

{{- /* What identifies pods of a component; never changes over the life of a release. Takes (list . "component"). */}}
{{- define "tollgate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: tollgate
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tollgate.labels" -}}
{{- $root := index . 0 -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: tollgate
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels of pods: a new chart version alone restarts nothing. Takes (list . "component" labels). */}}
{{- define "tollgate.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: tollgate
{{- with merge (dict) (index . 2) $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels and, where there are any, annotations of an object. Takes (list . "component" annotations). */}}
{{- define "tollgate.meta" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "tollgate.labels" . | nindent 2 }}
{{- $annotations := dict -}}
{{- if gt (len .) 2 }}{{- $annotations = default dict (index . 2) }}{{- end }}
{{- with merge (dict) $annotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* An image of ours: (list . .Values.operator.image). */}}
{{- define "tollgate.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $root.Values.image.registry) $image.repository -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}
{{- else -}}{{ $name }}:{{ coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- /* An image of others: (.Values.redis.bundled.image). */}}
{{- define "tollgate.foreignImage" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- /* Pods and containers as the profile "restricted" wants them; 65532 is `nonroot` of our images. */}}
{{- define "tollgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "tollgate.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* Where pods run: (list . "component" .Values.operator). */}}
{{- define "tollgate.placement" -}}
{{- $root := index . 0 -}}{{- $values := index . 2 -}}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
{{- toYaml $values.topologySpreadConstraints | nindent 0 }}
{{- else }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "tollgate.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end -}}

{{- /* Telemetry of both programs, as OpenTelemetry's own variables: (list . "service name"). */}}
{{- define "tollgate.telemetryEnv" -}}
{{- $root := index . 0 -}}{{- $otlp := $root.Values.telemetry.otlp -}}
- {name: TOLLGATE_LOG, value: {{ $root.Values.telemetry.logFilter | quote }}}
{{- if $otlp.endpoint }}
- {name: OTEL_SERVICE_NAME, value: {{ index . 1 }}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $otlp.endpoint | quote }}}
{{- if $otlp.existingSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ $otlp.existingSecret }}, key: {{ $otlp.headersKey }}}}
{{- end }}
{{- $attributes := list "k8s.namespace.name=$(POD_NAMESPACE)" "k8s.pod.name=$(POD_NAME)" -}}
{{- range $name, $value := $root.Values.telemetry.resourceAttributes }}{{- $attributes = append $attributes (printf "%s=%v" $name $value) }}{{- end }}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ join "," $attributes | quote }}}
{{- end }}
{{- end -}}

{{- /* Who a pod is, from the kubelet. */}}
{{- define "tollgate.podEnv" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
{{- end -}}

{{- /* Values that contradict each other, in words. Included by the gateway's Deployment. */}}
{{- define "tollgate.validate" -}}
{{- range $store := list "redis" "postgres" }}
{{- $values := index $.Values $store }}
{{- $external := or $values.external.url $values.external.urlKey }}
{{- if and $external $values.bundled.enabled }}
{{- fail (printf "%s: both %s.bundled.enabled and %s.external are set; set %s.bundled.enabled=false to use the external one" $store $store $store $store) }}
{{- end }}
{{- if not (or $external $values.bundled.enabled) }}
{{- fail (printf "%s: set %s.external.url (or urlKey), or %s.bundled.enabled=true; gateways need one" $store $store $store) }}
{{- end }}
{{- if and $values.external.urlKey (not $values.external.existingSecret) }}
{{- fail (printf "%s: %s.external.urlKey needs %s.external.existingSecret" $store $store $store) }}
{{- end }}
{{- if regexMatch "^[a-z+-]+://[^/@]*:[^/@]+@" $values.external.url }}
{{- fail (printf "%s: %s.external.url holds a password, which would stand in the pod's specification; put it into a Secret and name that in %s.external.existingSecret" $store $store $store) }}
{{- end }}
{{- end }}
{{- if gt (int .Values.gateway.autoscaling.minReplicas) (int .Values.gateway.autoscaling.maxReplicas) }}
{{- fail "gateway.autoscaling: minReplicas is above maxReplicas" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name the Gateway that the route attaches to" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name at least one host" }}
{{- end }}
{{- end -}}

{{- /* Labels that the operator puts on the pods of stdio servers. */}}
{{- define "tollgate.stdioLabels" -}}
app.kubernetes.io/managed-by: tollgate-operator
app.kubernetes.io/component: mcp-server
{{- end -}}

{{- /* Egress to name servers, and a list of ports. */}}
{{- define "tollgate.dns" -}}
- ports: # names
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
{{- end -}}
{{- define "tollgate.ports" -}}
{{- range . }}
- {port: {{ . }}, protocol: TCP}
{{- end -}}
{{- end }}
