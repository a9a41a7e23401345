{{- /* What the operator does in each namespace whose objects count: in a ClusterRole, or in a Role in each of watchNamespaces. */}}
{{- define "tollgate.watchedRules" -}}
# kubernetes/watches: the three kinds.
- apiGroups: [tollgate.dev]
  resources: [virtualkeys, mcpservers, providerroutes]
  verbs: [list, watch]
# status: the leader's conditions and spend, by server-side apply.
- apiGroups: [tollgate.dev]
  resources: [virtualkeys/status, mcpservers/status, providerroutes/status]
  verbs: [patch]
# kubernetes/watches, kubernetes/reads: metadata of all, the content of those that an object names (get by name). RBAC knows no
# "metadata only". tokens: the leader makes the Secret of a key's token where there is none, and rotates those that it made.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update]
# events: what happened to an object, told where the object is.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# stdio: McpServers of the kind stdio run as a Deployment behind a Service and a NetworkPolicy: applied (server-side apply of what is
# not there needs `create` too), looked for so that what somebody changed is repaired and what somebody else made is left alone, deleted
# when nobody wants them, their health told in the McpServer's status.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, create, patch, delete]
{{- end -}}

{{- /* What it does in its own namespace. */}}
{{- define "tollgate.ownRules" -}}
# leader: one Lease, by name. RBAC cannot bind `create` to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [tollgate-operator]
  verbs: [get, update]
# certificates: the authority, the two server certificates and the sealing keys; made and rotated by the leader, read by all.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [tollgate-ca, tollgate-operator-tls, tollgate-gateway-tls, tollgate-sealing]
  verbs: [list, watch, update]
# certificates: the authority's certificate, for gateways and relays.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [tollgate-ca]
  verbs: [patch]
{{- end -}}

{{- /* What is not in any namespace. */}}
{{- define "tollgate.clusterRules" -}}
# xds/token_review: who a gateway is, by its token (TokenReview).
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# kubernetes/watches: labels of namespaces, for allowedNamespaces selectors.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
# pushed: the keys with which gateways verify ServiceAccount tokens without asking.
- nonResourceURLs: [/.well-known/openid-configuration, /openid/v1/jwks]
  verbs: [get]
{{- if .Values.injection.enabled }}
# certificates: the leader writes caBundle of this one webhook.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  resourceNames: [{{ include "tollgate.clusterName" . }}-operator]
  verbs: [get, patch]
{{- end }}
{{- end -}}

{{- /* A binding's subjects: the operator. */}}
{{- define "tollgate.operatorSubject" -}}
- kind: ServiceAccount
  name: {{ include "tollgate.operator.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
