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

{{- /* Labels of an object: (list . "component"), and more of its own as a third. */}}
{{- define "tollgate.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict -}}
{{- if gt (len .) 2 }}{{- $own = index . 2 }}{{- end -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: tollgate
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with merge (dict) $own $root.Values.commonLabels }}
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

{{- /* Labels and, where there are any, annotations of an object. Takes (list . "component" annotations labels). */}}
{{- define "tollgate.meta" -}}
{{- $root := index . 0 -}}
{{- $annotations := dict -}}
{{- $own := dict -}}
{{- if gt (len .) 2 }}{{- $annotations = default dict (index . 2) }}{{- end }}
{{- if gt (len .) 3 }}{{- $own = default dict (index . 3) }}{{- end -}}
labels:
  {{- include "tollgate.labels" (list $root (index . 1) $own) | nindent 2 }}
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

{{- /* Pods and containers of the bundled stores, as the profile "restricted" wants them. */}}
{{- define "tollgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
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
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
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
{{- if and $otlp.existingSecret $otlp.headersKey }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ $otlp.existingSecret }}, key: {{ $otlp.headersKey }}}}
{{- end }}
{{- if $otlp.caKey }}
- {name: OTEL_EXPORTER_OTLP_CERTIFICATE, value: /etc/tollgate/otlp/ca.crt}
{{- end }}
{{- $attributes := list "k8s.namespace.name=$(POD_NAMESPACE)" "k8s.pod.name=$(POD_NAME)" -}}
{{- range $name, $value := $root.Values.telemetry.resourceAttributes }}{{- $attributes = append $attributes (printf "%s=%v" $name $value) }}{{- end }}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ join "," $attributes | quote }}}
{{- end }}
{{- end -}}

{{- /* Where a program finds the collector's authority, and what the values add: (list . .Values.operator). */}}
{{- define "tollgate.extraMounts" -}}
{{- $otlp := (index . 0).Values.telemetry.otlp -}}
{{- if and $otlp.endpoint $otlp.caKey }}
- {name: otlp, mountPath: /etc/tollgate/otlp, readOnly: true}
{{- end }}
{{- with (index . 1).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- define "tollgate.extraVolumes" -}}
{{- $otlp := (index . 0).Values.telemetry.otlp -}}
{{- if and $otlp.endpoint $otlp.caKey }}
- name: otlp
  secret:
    secretName: {{ $otlp.existingSecret }}
    defaultMode: 0440
    items:
    - {key: {{ $otlp.caKey }}, path: ca.crt}
{{- end }}
{{- with (index . 1).extraVolumes }}
{{ toYaml . }}
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
{{- if and $values.external.caKey (not $values.external.existingSecret) }}
{{- fail (printf "%s: %s.external.caKey needs %s.external.existingSecret, the Secret that holds the authority" $store $store $store) }}
{{- end }}
{{- if and $values.external.urlKey (not $values.external.existingSecret) }}
{{- fail (printf "%s: %s.external.urlKey needs %s.external.existingSecret" $store $store $store) }}
{{- end }}
{{- if or (regexMatch "^[a-z+-]+://[^@?]*:[^@?]+@" $values.external.url) (regexMatch "[?&](password|pass|pwd)=" $values.external.url) }}
{{- fail (printf "%s: %s.external.url holds a password, which would stand in the pod's specification; put it into a Secret and name that in %s.external.existingSecret" $store $store $store) }}
{{- end }}
{{- end }}
{{- if and .Values.telemetry.otlp.caKey (not .Values.telemetry.otlp.existingSecret) }}
{{- fail "telemetry.otlp.caKey needs telemetry.otlp.existingSecret, the Secret that holds the authority" }}
{{- end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "tollgate.fullname" .)) }}
{{- fail (printf "the name %q is no name of a Service (a letter first, then letters, digits and dashes): set fullnameOverride" (include "tollgate.fullname" .)) }}
{{- end }}
{{- range $values := list "commonLabels" "operator.podLabels" "gateway.podLabels" "redis.bundled.podLabels" "postgres.bundled.podLabels" "operator.service.labels" "gateway.service.labels" }}
{{- $labels := $.Values }}
{{- range splitList "." $values }}{{ $labels = index $labels . }}{{ end }}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" "app.kubernetes.io/version" "helm.sh/chart" }}
{{- if hasKey $labels $label }}
{{- fail (printf "%s: %s is the chart's own label" $values $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $namespace := .Values.platformNamespaces }}
{{- if and $.Values.watchNamespaces (not (has $namespace $.Values.watchNamespaces)) }}
{{- fail (printf "platformNamespaces: %s is not in watchNamespaces, so that nobody would read its keys" $namespace) }}
{{- end }}
{{- end }}
{{- range $component := list "operator" "gateway" }}
{{- $own := include (printf "tollgate.%s.ownArgs" $component) $ | fromYaml }}
{{- range $argument := (index $.Values $component).extraArgs }}
{{- $flag := regexFind "^--[a-z0-9-]+" $argument }}
{{- if hasKey $own $flag }}
{{- $value := get $own $flag }}
{{- fail (printf "%s.extraArgs: %s is given by the chart, and no program takes it twice%s" $component $flag (ternary (printf "; set %s" $value) "" (not (empty $value)))) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $component := list "operator" "gateway" }}
{{- with (index $.Values $component).serviceAccount }}
{{- if and (not .create) (not .name) }}
{{- fail (printf "%s.serviceAccount: with create: false name one that exists" $component) }}
{{- end }}
{{- end }}
{{- end }}
{{- include "tollgate.alone" . }}
{{- if gt (int .Values.gateway.autoscaling.minReplicas) (int .Values.gateway.autoscaling.maxReplicas) }}
{{- fail "gateway.autoscaling: minReplicas is above maxReplicas" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name the Gateway that the route attaches to" }}
{{- end }}
{{- if and (not .Values.gateway.service.http) (or .Values.ingress.enabled .Values.httpRoute.enabled) }}
{{- fail "gateway.service.http: Ingress and HTTPRoute lead to this port; leave it on, with type ClusterIP" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name at least one host" }}
{{- end }}
{{- end -}}

{{- /* The arguments that the chart gives and that may be given once, with the values that they come from. */}}
{{- define "tollgate.gateway.ownArgs" -}}
{{- range list "xds" "xds-token-file" "xds-ca" "xds-state" "node" "listen" "listen-tls" "tls-cert" "tls-key" "admin" "data" }}
--{{ . }}: ""
{{- end }}
--min-drain: gateway.drain.minSeconds
--drain: gateway.drain.seconds
--max-body: gateway.maxBody
--redis: redis.external
--postgres: postgres.external
{{- if .Values.gateway.maxConfigAgeSeconds }}
--max-config-age: gateway.maxConfigAgeSeconds
{{- end }}
{{- if .Values.gateway.metricsKeys }}
--metrics-keys: gateway.metricsKeys
{{- end }}
{{- if .Values.telemetry.logJson }}
--log-json: telemetry.logJson
{{- end }}
{{- end -}}
{{- define "tollgate.operator.ownArgs" -}}
{{- range list "xds-listen" "webhook-listen" "admin-listen" "service" "gateway-service" "audience" }}
--{{ . }}: ""
{{- end }}
--dataplane-image: gateway.image
{{- if .Values.injection.enabled }}
--webhook-configuration: injection.enabled
{{- end }}
{{- if .Values.operator.sidecarGateways }}
--sidecar-gateways: operator.sidecarGateways
{{- end }}
{{- if .Values.operator.allowPrivateEndpoints }}
--allow-private-endpoints: operator.allowPrivateEndpoints
{{- end }}
{{- if .Values.telemetry.logJson }}
--log-json: telemetry.logJson
{{- end }}
{{- end -}}

{{- /* Two installations that read the same namespaces would forbid each other's keys and write each other's statuses. Helm sees
the cluster only while it installs. */}}
{{- define "tollgate.alone" -}}
{{- range $role := (lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items }}
{{- $labels := $role.metadata.labels | default dict }}
{{- $annotations := $role.metadata.annotations | default dict }}
{{- if and (eq (get $labels "app.kubernetes.io/name") "tollgate") (get $annotations "tollgate.dev/watches") }}
{{- $theirs := splitList "," (get $annotations "tollgate.dev/watches") }}
{{- $other := printf "%s/%s" (get $annotations "meta.helm.sh/release-namespace") (get $annotations "meta.helm.sh/release-name") }}
{{- if ne $other (printf "%s/%s" $.Release.Namespace $.Release.Name) }}
{{- $ours := splitList "," (include "tollgate.watches" $) }}
{{- range $ours }}
{{- if or (eq . "*") (has "*" $theirs) (has . $theirs) }}
{{- fail (printf "the release %s reads %s already: give both releases watchNamespaces that do not overlap" $other (ternary "all namespaces" (join ", " $theirs) (has "*" $theirs))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- /* The namespaces that are read, with commas; `*`: all. */}}
{{- define "tollgate.watches" -}}
{{- if .Values.watchNamespaces -}}{{ append .Values.watchNamespaces .Release.Namespace | uniq | sortAlpha | join "," }}{{- else -}}*{{- end -}}
{{- end -}}

{{- /* Labels that the operator puts on the pods of stdio servers. */}}
{{- define "tollgate.stdioLabels" -}}
app.kubernetes.io/managed-by: tollgate-operator
app.kubernetes.io/component: mcp-server
{{- end -}}

{{- /* Egress to name servers. */}}
{{- define "tollgate.dns" -}}
{{- with .Values.networkPolicy.dnsPorts -}}
- ports: # names
  {{- range . }}
  - {port: {{ . }}, protocol: UDP}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
{{- end -}}
{{- end -}}
{{- /* The collector's ports: that of its address, and those of the values. */}}
{{- define "tollgate.otlpPorts" -}}
{{- $ports := list -}}
{{- with regexFind ":[0-9]+(/|$)" (regexReplaceAll "^[a-z]+://" .Values.telemetry.otlp.endpoint "") -}}
{{- $ports = append $ports (int (regexFind "[0-9]+" .)) -}}
{{- end -}}
{{- range .Values.networkPolicy.otlpPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- include "tollgate.ports" ($ports | uniq) -}}
{{- end -}}
{{- define "tollgate.ports" -}}
{{- range . }}
- {port: {{ . }}, protocol: TCP}
{{- end -}}
{{- end -}}
{{- /* A rule of egress: (list "ports, written" peers). No ports, no rule: to Kubernetes a rule without ports is one for all of them, and
without peers for everywhere. */}}
{{- define "tollgate.egress" -}}
{{- $peers := index . 1 -}}
{{- with trim (index . 0) -}}
- ports:
  {{- . | nindent 2 }}
  {{- with $peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}
{{- /* Bytes of a quantity as Kubernetes or redis.conf writes it. */}}
{{- define "tollgate.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "kb" 1024 "mb" 1048576 "gb" 1073741824 -}}
{{- $text := toString . -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text) | float64) | int64 -}}
{{- end -}}
{{- /* What the bundled Redis uses for data, in bytes; 0: as much as there is. */}}
{{- define "tollgate.redisMemory" -}}
{{- $redis := .Values.redis.bundled -}}
{{- $limit := dig "limits" "memory" "" (default dict $redis.resources) -}}
{{- $bytes := 0 -}}
{{- if $redis.maxMemory }}{{- $bytes = include "tollgate.bytes" $redis.maxMemory -}}
{{- else if $limit }}{{- $bytes = div (mul (include "tollgate.bytes" $limit | int64) 5) 8 -}}{{- end -}}
{{- if and $limit (gt (int64 $bytes) (include "tollgate.bytes" $limit | int64)) }}
{{- fail (printf "redis.bundled.maxMemory: %s is above resources.limits.memory, %s: Redis would be killed when it is full" $redis.maxMemory (toString $limit)) }}
{{- end -}}
{{- $bytes -}}
{{- end -}}
